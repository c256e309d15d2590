"""Tensors and a card become a Model; what does not fit is named."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

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
from gatekeeper.card import Card
from gatekeeper.errors import CandidateError, CardError
from gatekeeper.model import Model
from gatekeeper.records import Finding, InputSpec

_SHOWN = 3  # tensors that differ
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def load(weights: Path, card: Card, *, classes: tuple[str, ...] | None = None) -> Model:
    """Build the card's architecture, or one that fits, and put the tensors of `weights` into it.

    Args:
        weights: a safetensors file that quarantine wrote.
        card: what the operator knows; its architecture may be left out.
        classes: names to use where the card has none.

    Raises:
        CardError: the tensors do not fit; the first that differ are named.
    """
    shapes = read_shapes(weights)
    name = card.architecture or _inferred(shapes)
    names = _classes(card, shapes, classes)
    spec = card.spec or default_input(name, shapes)
    resolved = _resolve(name, card)
    with weightless() if ".py:" not in resolved else nullcontext():
        network = build(resolved, spec, len(names), trusted=card.trusted)
    tensors = _tensors(weights, network)
    _check(name, network, tensors)
    network.load_state_dict(tensors, assign=True)
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    return Model(
        network=network.eval(), input=spec, classes=names, architecture=name, output=card.output
    )


def read_shapes(weights: Path) -> dict[str, tuple[int, ...]]:
    """Read names and shapes without reading the tensors."""
    try:
        with safe_open(weights, framework="pt") as opened:
            return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118 - no mapping
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
            if tensor.element_size() < 2:
                tensor = tensor.float()
            # A sum is finite exactly when all are, but for overflow; then look closely.
            if not tensor.sum(dtype=torch.float64).isfinite() and not tensor.isfinite().all():
                bad = int((~tensor.isfinite()).sum())
                told = f"{bad} of {tensor.numel()} weights are NaN or infinite"
                findings.append(_finding("non-finite-weights", "high", name, told))
            elif tensor.dim() > 1 and not tensor.any():
                findings.append(_finding("all-zero-layer", "medium", name, "all weights are zero"))
    return findings


def default_input(name: str, shapes: dict[str, tuple[int, ...]]) -> InputSpec:
    """What a network is usually fed, where no card says it."""
    if name.startswith("torchvision:"):
        return InputSpec(size=(3, 224, 224), mean=_IMAGENET[0], std=_IMAGENET[1])
    channels = channels_of(shapes)
    return InputSpec(size=(channels, 32, 32), mean=(0.0,) * channels, std=(1.0,) * channels)


def _inferred(shapes: dict[str, tuple[int, ...]]) -> str:
    fits = infer(shapes)
    if not fits:
        message = f"no card names an architecture, and no known one has these {len(shapes)} tensors"
        raise CardError(message, hint="Give --card FILE with architecture: torchvision:NAME or "
                        "FILE.py:FACTORY.")  # fmt: skip
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


def _resolve(name: str, card: Card) -> str:
    """Let a factory's file count from the card's folder."""
    file, _, factory = name.rpartition(":")
    if not file.endswith(".py") or card.path is None:
        return name
    return f"{Path(card.path).resolve().parent / file}:{factory}"


def _tensors(weights: Path, network: nn.Module) -> dict[str, Tensor]:
    """Read all tensors as the network keeps them: floats in FP32, counters as they are."""
    tensors = {}
    with safe_open(weights, framework="pt") as opened:
        for name in opened.keys():  # noqa: SIM118 - no mapping
            tensor = opened.get_tensor(name)
            tensors[name] = tensor.float() if tensor.is_floating_point() else tensor
    for name in network.state_dict():
        # Files from before torch 0.4.1 lack the counter, which nothing here uses.
        if name.endswith("num_batches_tracked"):
            tensors.setdefault(name, torch.tensor(0))
    return tensors


def _check(name: str, network: nn.Module, tensors: dict[str, Tensor]) -> None:
    own = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    missing = [f"{key} {own[key]} is missing" for key in own if key not in tensors]
    surplus = [f"{key} {tuple(tensors[key].shape)} is not expected" for key in tensors
               if key not in own]  # fmt: skip
    shapes = [
        f"{key} is {tuple(tensors[key].shape)}, expected {own[key]}"
        for key in own
        if key in tensors and tuple(tensors[key].shape) != own[key]
    ]
    if problems := [*shapes, *missing, *surplus]:
        shown = "; ".join(problems[:_SHOWN])
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        message = f"the tensors do not fit {name}: {shown}{more}"
        raise CardError(message, hint="Correct architecture, num_classes or input in the card.")


def _finding(rule: str, severity: str, tensor: str, message: str) -> Finding:
    return Finding(
        rule_id=rule,
        screen="weights",
        severity=severity,  # type: ignore[arg-type]
        layer=tensor,
        message=f"{tensor}: {message}",
    )
