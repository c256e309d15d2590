"""Tensors and a card become a Model; what does not fit is named."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from gatekeeper.candidate.architectures import (
    build,
    channels_of,
    classes_of,
    infer,
    weightless,
)
from gatekeeper.candidate.sequential import NAME as SEQUENTIAL
from gatekeeper.candidate.sequential import (
    answer_shape,
    check_against,
    ends_in_softmax,
    is_sequential,
    rebuild,
)
from gatekeeper.candidate.state import common_prefix
from gatekeeper.candidate.structure import Layer
from gatekeeper.card import Card, own_file
from gatekeeper.errors import CandidateError, CardError
from gatekeeper.model import Model, Output
from gatekeeper.records import Finding, InputSpec

MOST_CLASSES = 100_000  # as a card may have
_SHOWN = 3  # tensors that differ
_AT_ONCE = 1 << 22  # weights that are looked at in one go
# Those that are no floats, as safetensors names them; floats are read as FP32.
_TYPES = {
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip
_COUNTER = "num_batches_tracked"
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def load(
    weights: Path,
    card: Card,
    *,
    classes: tuple[str, ...] | None = None,
    structure: list[Layer] | None = None,
) -> Model:
    """Build the card's architecture, or one that fits, and put the tensors of `weights` into it.

    Args:
        weights: a safetensors file that quarantine wrote.
        card: what the operator knows; its architecture may be left out.
        classes: names to use where the card has none.
        structure: of the network that the candidate pickled whole, if it did.

    Raises:
        CardError: the tensors do not fit, and the first that differ are named; or the network
            does not give one row of logits for each image.
    """
    shapes = read_shapes(weights)
    if structure and card.architecture is None and is_sequential(structure):
        return _load_sequential(weights, card, shapes, classes, structure)
    name = card.architecture or _inferred(shapes, structure)
    names = _classes(card, shapes, classes)
    spec = card.spec or default_input(name, shapes)
    own = own_file(card)
    resolved = f"{own}:{name.rpartition(':')[2]}" if own else name
    with nullcontext() if own else weightless():
        network = build(resolved, spec, len(names), trusted=card.trusted).float()
    if structure and card.architecture is None:
        check_against(network, structure, name)
    _check(name, network, weights)
    tensors = _tensors(weights, network)
    # Copied where the network's own code may tie weights, which assigning would part.
    network.load_state_dict(tensors, assign=own is None)
    if own:
        _check_ties(name, network, tensors)
    return _finished(network, spec, names, name, card.output)


def _load_sequential(
    weights: Path, card: Card, shapes: dict[str, tuple[int, ...]],
    given: tuple[str, ...] | None, structure: list[Layer],
) -> Model:  # fmt: skip
    """Rebuild a pickled Sequential; the number of classes is that of its answers."""
    spec = card.spec or default_input(SEQUENTIAL, shapes)
    with weightless():
        network = rebuild(structure, shapes)
    answer = answer_shape(network, spec)
    count = answer[1] if len(answer) == 2 else 0
    if count < 2 or count > MOST_CLASSES:
        message = f"{SEQUENTIAL}, shown two images of size {spec.size}, answers with {answer}"
        raise CardError(message, hint="Correct input in the card; it must give a row an image.")
    names = _classes(card, {"head.weight": (count, 1)}, given)
    _check(SEQUENTIAL, network, weights)
    tensors = _tensors(weights, network)
    network.load_state_dict(tensors, assign=True)
    told = "output" in card.model_fields_set
    output = "probabilities" if ends_in_softmax(structure) and not told else card.output
    return _finished(network, spec, names, SEQUENTIAL, output)


def _finished(
    network: nn.Module, spec: InputSpec, classes: tuple[str, ...], name: str, output: Output
) -> Model:
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    model = Model(
        network=network.eval(), input=spec, classes=classes, architecture=name, output=output
    )
    _probe(model)
    return model


def read_shapes(weights: Path) -> dict[str, tuple[int, ...]]:
    """Read names, without what wrappers put before them, and shapes, but not the tensors."""
    try:
        with safe_open(weights, framework="pt") as opened:
            names = list(opened.keys())
            prefix = common_prefix(names)
            return {
                name.removeprefix(prefix): tuple(opened.get_slice(name).get_shape())
                for name in names
            }
    except SafetensorError as error:
        message = f"the quarantined weights cannot be read: {error}"
        raise CandidateError(message) from None


def non_finite(weights: Path) -> list[Finding]:
    """Find NaN, infinite and all-zero weights, one tensor at a time."""
    findings = []
    with safe_open(weights, framework="pt") as opened:
        for name in opened.keys():  # noqa: SIM118 - no mapping
            tensor = opened.get_tensor(name)
            if not tensor.is_floating_point() or tensor.numel() == 0:
                continue
            # A child may write four times what it read, and a byte takes four as FP32.
            pieces = tensor.flatten().split(_AT_ONCE)
            if bad := sum(map(_not_finite, pieces)):
                told = f"{bad} of {tensor.numel()} weights are NaN or infinite"
                findings.append(_finding("non-finite-weights", "high", name, told))
            elif tensor.dim() > 1 and not any(_wide(piece).any() for piece in pieces):
                findings.append(_finding("all-zero-layer", "medium", name, "all weights are zero"))
    return findings


def _not_finite(piece: Tensor) -> int:
    """Count NaN and infinite numbers."""
    piece = _wide(piece)
    # A sum is finite exactly when all are, but for overflow; then look closely.
    return 0 if piece.sum(dtype=torch.float64).isfinite() else int((~piece.isfinite()).sum())


def _wide(piece: Tensor) -> Tensor:
    """Give 8-bit floats, with which torch cannot count, in single precision."""
    return piece.float() if piece.element_size() < 2 else piece


def default_input(name: str, shapes: dict[str, tuple[int, ...]]) -> InputSpec:
    """What a network is usually fed, where no card says it."""
    if name.startswith("torchvision:"):
        return InputSpec(size=(3, 224, 224), mean=_IMAGENET[0], std=_IMAGENET[1])
    channels = channels_of(shapes)
    return InputSpec(size=(channels, 32, 32), mean=(0.0,) * channels, std=(1.0,) * channels)


def _inferred(shapes: dict[str, tuple[int, ...]], structure: list[Layer] | None) -> str:
    fits = infer(shapes)
    if not fits and structure:
        message = (
            f"the file pickles a whole {structure[0].kind}, whose forward is code, and no known "
            "network has its tensors"
        )
        raise CardError(message, hint="Give --card FILE with architecture: torchvision:NAME, "
                        "gatekeeper:NAME or FILE.py:FACTORY.")  # fmt: skip
    if not fits:
        message = f"no card names an architecture, and no known one has these {len(shapes)} tensors"
        raise CardError(message, hint="Give --card FILE with architecture: torchvision:NAME, "
                        "gatekeeper:NAME or FILE.py:FACTORY.")  # fmt: skip
    return fits[0]


def _classes(
    card: Card, shapes: dict[str, tuple[int, ...]], given: tuple[str, ...] | None
) -> tuple[str, ...]:
    if card.classes is not None:
        return card.classes
    count = card.num_classes or (classes_of(shapes) if card.architecture is None else None)
    if given is not None and count in (None, len(given)):
        return given
    count = count or classes_of(shapes)
    return tuple(str(number) for number in range(count))


def _tensors(weights: Path, network: nn.Module) -> dict[str, Tensor]:
    """Read all tensors under the network's own names: floats in FP32, counters as integers."""
    tensors: OrderedDict[str, Tensor] = OrderedDict()
    own = network.state_dict()
    # Layers' own versions, which no safetensors file has: MNASNet refuses weights without.
    tensors._metadata = own._metadata  # type: ignore[attr-defined]
    with safe_open(weights, framework="pt") as opened:
        for name, bare in _own_names(opened, own).items():
            tensor = opened.get_tensor(name)
            if bare.endswith(_COUNTER):
                tensor = tensor.long()
            elif tensor.is_floating_point():
                tensor = tensor.float()
            tensors[bare] = tensor
    for name in own:
        # Files from before torch 0.4.1 lack the counter, which nothing here uses.
        if name.endswith(_COUNTER):
            tensors.setdefault(name, torch.tensor(0))
    return tensors


def _own_names(opened: Any, own: Iterable[str]) -> dict[str, str]:
    """Give the name that the network has for each tensor of an open file."""
    names = list(opened.keys())
    prefix, own_prefix = common_prefix(names), common_prefix(own)
    return {name: own_prefix + name.removeprefix(prefix) for name in names}


def _check(name: str, network: nn.Module, weights: Path) -> None:
    """Hold the header of `weights` against the network, before a tensor is read."""
    state = network.state_dict()
    with safe_open(weights, framework="pt") as opened:
        slices = {own: opened.get_slice(key) for key, own in _own_names(opened, state).items()}
    shapes = {key: tuple(one.get_shape()) for key, one in slices.items()}
    kinds = {key: _TYPES.get(one.get_dtype(), torch.float32) for key, one in slices.items()}
    told = [
        *(f"{key} is {shapes[key]}, expected {tuple(tensor.shape)}"
          for key, tensor in state.items()
          if key in shapes and shapes[key] != tuple(tensor.shape)),
        *(f"{key} {tuple(tensor.shape)} is missing"
          for key, tensor in state.items() if key not in shapes and not key.endswith(_COUNTER)),
        *(f"{key} {shape} is not expected" for key, shape in shapes.items() if key not in state),
        *(f"{key} holds {_kind(kinds[key])}, expected {_kind(tensor.dtype)}"
          for key, tensor in state.items()
          if key in kinds and not key.endswith(_COUNTER)
          and kinds[key].is_floating_point != tensor.is_floating_point()),
    ]  # fmt: skip
    if told:
        shown = "; ".join(told[:_SHOWN])
        more = f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
        message = f"the tensors do not fit {name}: {shown}{more}"
        raise CardError(message, hint="Correct architecture, num_classes or input in the card.")


def _check_ties(name: str, network: nn.Module, tensors: dict[str, Tensor]) -> None:
    for key, tensor in network.state_dict().items():
        if not torch.equal(tensor.nan_to_num(), tensors[key].nan_to_num()):
            message = f"{name} ties {key} to another tensor, and the file has two different ones"
            raise CardError(message, hint="Correct the architecture in the card.")


def _probe(model: Model) -> None:
    """Show the network two blank images: every later step takes its answer for granted."""
    wanted = (2, len(model.classes))
    shown = f"{model.architecture}, shown two images of size {model.input.size},"
    hint = "Correct architecture, input.size or classes in the card."
    try:
        with torch.no_grad():
            answer: object = model.network(torch.zeros(2, *model.input.size))
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        message = f"{shown} fails: {type(error).__name__}: {first[:200]}"
        raise CardError(message, hint=hint) from error
    if not isinstance(answer, Tensor):
        message = f"{shown} answers with a {type(answer).__name__}, not with a tensor {wanted}"
        raise CardError(message, hint="Let its factory give a network that returns logits alone.")
    if tuple(answer.shape) != wanted:
        message = f"{shown} answers with {tuple(answer.shape)}, not with {wanted}"
        raise CardError(message, hint=hint)


def _kind(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _finding(rule: str, severity: str, tensor: str, message: str) -> Finding:
    return Finding(
        rule_id=rule,
        screen="weights",
        severity=severity,  # type: ignore[arg-type]
        layer=tensor,
        message=f"{tensor}: {message}",
    )
