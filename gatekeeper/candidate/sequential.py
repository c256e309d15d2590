"""Rebuilds a pickled torch.nn.Sequential from known layers, and compares networks with structures.

What a Sequential does is known from its layers alone; what any other class does stands in code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gatekeeper.candidate.cost import Cost
from gatekeeper.candidate.layers import LAYERS, LayerKind, Shapes
from gatekeeper.candidate.state import common_prefix
from gatekeeper.candidate.structure import Layer, is_plain
from gatekeeper.errors import CardError
from gatekeeper.records import InputSpec

NAME = "torch.nn.Sequential"
_ROOM = "torch.nn.modules."
_SEQUENTIAL = "torch.nn.modules.container.Sequential"
# Of all layers, for two images: VGG-19 takes an eighth and a third.
_MOST_ELEMENTS, _MOST_PRODUCTS = 1 << 29, 1 << 37
_HARMLESS = frozenset({"p", "inplace", "momentum"})  # no answer depends on them once trained
_HINT = "Give --card FILE with architecture: FILE.py:FACTORY, or ask for a state dict."
_NO_FIT = "Give --card FILE with input: size, mean and std, or architecture: FILE.py:FACTORY."


def is_sequential(layers: list[Layer]) -> bool:
    """Tell whether the network is a Sequential, which can be rebuilt without a card."""
    return layers[0].kind == _SEQUENTIAL


def ends_in_softmax(layers: list[Layer]) -> bool:
    """Tell whether the last layer turns logits into probabilities."""
    return layers[-1].kind.rpartition(".")[2] == "Softmax"


def rebuild(layers: list[Layer], shapes: Shapes) -> nn.Sequential:
    """Build the network anew, with weights of its own.

    Args:
        layers: the structure, its root a Sequential.
        shapes: of the file's tensors, by names without what wrappers put before them.

    Raises:
        CardError: a layer is not known, or its settings are odd or do not fit the tensors.
    """
    held = _by_layer(shapes, layers)
    networks: dict[str, nn.Module] = {}
    for layer in layers:
        network = _built(layer, held.get(layer.path, {}))
        networks[layer.path] = network
        if layer.path:
            _add(networks[layer.parent], layer, network)
    root = networks[""]
    check_against(root, layers, NAME)
    return root  # type: ignore[return-value]


def check_against(network: nn.Module, layers: list[Layer], name: str) -> None:
    """Refuse a structure that says other things of a layer than the network `name` does.

    Raises:
        CardError: naming the first difference.
    """
    told = difference(network, layers)
    if told:
        message = f"the file pickles a network that differs from {name}: {told}"
        raise CardError(message, hint=_HINT)


def difference(network: nn.Module, layers: list[Layer]) -> str:
    """Tell the first difference between a network and a structure; "" where there is none."""
    built = dict(network.named_modules(remove_duplicate=False))
    for layer in layers:
        module = built.pop(layer.path, None)
        where = f"layer {layer.path!r}" if layer.path else "the network"
        if module is None:
            return f"{where} is not expected"
        kind = f"{type(module).__module__}.{type(module).__qualname__}"
        if kind != layer.kind:
            return f"{where} is a {layer.kind[:100]}, expected {kind}"
        if told := _other_settings(module, layer):
            return f"{where} {told}"
    return f"layer {next(iter(built))!r} is missing" if built else ""


def answer_shape(network: nn.Module, spec: InputSpec) -> tuple[int, ...]:
    """Give the shape of the answer to two images, worked out without memory for any layer.

    Raises:
        CardError: the image does not fit, or the layers would take too much memory or time.
    """
    try:
        image = torch.empty(2, *spec.size, device="meta")
        cost = Cost(most_elements=_MOST_ELEMENTS, most_products=_MOST_PRODUCTS)
        answer: Tensor = cost.shown(network.eval(), [image])
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        message = f"{NAME}, shown two images of size {spec.size}, fails: {first[:200]}"
        raise CardError(message, hint=_NO_FIT) from None
    return tuple(answer.shape)


def _by_layer(shapes: Shapes, layers: list[Layer]) -> dict[str, Shapes]:
    """Sort the tensors by the layer that holds them, under their own short names."""
    # What was taken off before the tensors' names stands before all of these, and only then.
    prefix = common_prefix(f"{layer.path}.{name}" for layer in layers for name in layer.tensors)
    held: dict[str, Shapes] = {}
    for name, shape in shapes.items():
        path, _, own = (prefix + name).rpartition(".")
        held.setdefault(path, {})[own] = shape
    strange = held.keys() - {layer.path for layer in layers}
    if strange:
        message = f"tensors stand in layer {min(strange)[:100]!r}, which is not in the file"
        raise CardError(message, hint=_HINT)
    return held


def _built(layer: Layer, held: Shapes) -> nn.Module:
    where = f"layer {layer.path!r}" if layer.path else "the network"
    if layer.kind == _SEQUENTIAL:
        if held:
            message = f"{where} is a Sequential that holds tensors of its own"
            raise CardError(message, hint=_HINT)
        return nn.Sequential()
    kind = LAYERS.get(_short(layer))
    if kind is None:
        message = f"{where} is a {layer.kind[:100]}, which is not rebuilt without its code"
        raise CardError(message, hint=_HINT)
    arguments = {name: layer.values[name] for name in kind.settings if name in layer.values}
    for name, value in arguments.items():
        if not kind.settings[name](value):
            message = f"{where}, a {_short(layer)}, has {name} {value!r}, which is out of bounds"
            raise CardError(message, hint=_HINT)
    _check_tensors(where, layer, kind, held)
    without = {name: False for name in kind.optional if name not in held}
    try:
        return getattr(nn, _short(layer))(**arguments, **without)  # type: ignore[no-any-return]
    except (TypeError, ValueError, RuntimeError) as error:
        message = f"{where} cannot be built: {error}"
        raise CardError(message, hint=_HINT) from None


def _add(parent: nn.Module, layer: Layer, network: nn.Module) -> None:
    try:
        if not isinstance(parent, nn.Sequential):
            message = f"its parent is a {type(parent).__name__}"
            raise TypeError(message)
        parent.add_module(layer.path.rpartition(".")[2], network)
    except (KeyError, TypeError) as error:
        message = f"layer {layer.path!r} cannot stand where it does: {error}"
        raise CardError(message, hint=_HINT) from None


def _check_tensors(where: str, layer: Layer, kind: LayerKind, held: Shapes) -> None:
    """Compare before building: nothing larger than the file's own tensors is ever made."""
    try:
        wanted = kind.tensors(layer.values)
    except (KeyError, ZeroDivisionError, TypeError):
        message = f"{where}, a {_short(layer)}, lacks settings"
        raise CardError(message, hint=_HINT) from None
    for name in [*kind.optional, "num_batches_tracked"]:
        if name not in held:
            wanted.pop(name, None)
    if wanted != held:
        message = f"{where}, a {_short(layer)}, would have the tensors {wanted}, the file {held}"
        raise CardError(message[:400], hint=_HINT)


def _short(layer: Layer) -> str:
    """Name of a class of torch.nn; empty for any other."""
    return layer.kind.rpartition(".")[2] if layer.kind.startswith(_ROOM) else ""


def _other_settings(module: nn.Module, layer: Layer) -> str:
    """Tell what the file's layer has and this one does not."""
    own = vars(module)
    for name in layer.odd:
        # Where a class itself keeps an object, it built from it; hooks and methods would run.
        if "hook" in name or name not in own or is_plain(own[name]):
            return f"keeps something of its own as {name!r}"
    for name in layer.data:
        if is_plain(own[name]) if name in own else hasattr(type(module), name):
            return f"keeps other data as {name!r}"
    for name, value in layer.values.items():
        if name not in own:
            if hasattr(type(module), name):
                return f"has its own {name!r}"
            continue
        mine = own[name]
        if name in _HARMLESS:
            continue
        if not is_plain(mine):
            return f"has {name} {value!r}, expected a {type(mine).__name__}"
        mine = list(mine) if isinstance(mine, (tuple, list)) else mine
        if type(mine) is not type(value) or mine != value:
            return f"has {name} {value!r}, expected {mine!r}"
    return ""
