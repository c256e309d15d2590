"""How a network is wired: which modules run, in what order, and which BatchNorm takes whose output.

torch.fx traces the code with stand-ins for tensors. Where the code resists (its flow depends on
values), one pass over an empty image is watched, tensor by tensor. Both see the graph itself; the
order in which modules were written down says nothing, as pre-activation networks show.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_WHOLE = (*CONVS, *BATCH_NORMS, nn.Linear, nn.MultiheadAttention)
_QUESTIONS = ("shape", "size", "dim", "ndim", "numel", "dtype", "device")


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """What was seen: `order` of the modules that ran, `batch_norms` by the layer before them."""

    order: tuple[str, ...]
    batch_norms: Mapping[str, str]
    seen: Literal["traced", "watched", "unseen"]


@dataclass(kw_only=True)
class _Sightings:
    """Who takes the output of each layer; anything that is no BatchNorm goes by `None`."""

    order: list[str] = field(default_factory=list)
    takers: dict[str, set[str | None]] = field(default_factory=dict)

    def wiring(self, network: nn.Module, seen: Literal["traced", "watched"]) -> Wiring:
        """Keep the pairs in which one BatchNorm, with statistics, is the only taker."""
        pairs = {}
        for layer, takers in self.takers.items():
            (norm, *others) = takers or {None}
            if norm is not None and not others and _folds(network, layer, norm):
                pairs[layer] = norm
        return Wiring(order=tuple(dict.fromkeys(self.order)), batch_norms=pairs, seen=seen)


def wire(network: nn.Module, size: tuple[int, int, int]) -> Wiring:
    """See how `network` is wired in evaluation mode; the network itself is left alone."""
    ways: tuple[Callable[[], Wiring], ...] = (
        lambda: _traced(_twin(network)),
        lambda: _watched(_twin(network), size),
    )
    for look in ways:
        try:
            with torch.no_grad():
                return look()
        except Exception:  # whatever an unknown network's code may raise: look another way
            continue
    return Wiring(order=(), batch_norms={}, seen="unseen")


def _twin(network: nn.Module) -> nn.Module:
    """Copy the modules and share the tensors: whatever tracing leaves behind, it leaves there."""
    tensors = [*network.parameters(), *network.buffers()]
    return copy.deepcopy(network, {id(tensor): tensor for tensor in tensors}).eval()


def _folds(network: nn.Module, layer: str, norm: str) -> bool:
    variance = getattr(network.get_submodule(norm), "running_var", None)
    units = network.get_submodule(layer).weight.shape[0]  # type: ignore[index]
    return isinstance(variance, Tensor) and len(variance) == units


class _Tracer(fx.Tracer):
    """Keeps what has units, and every BatchNorm that somebody derived from torch's, whole."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _WHOLE) or super().is_leaf_module(m, module_qualified_name)


def _traced(network: nn.Module) -> Wiring:
    modules = dict(network.named_modules())
    sightings = _Sightings()
    for node in _Tracer().trace(network).nodes:
        if node.op != "call_module":
            continue
        name = str(node.target)
        sightings.order.append(name)
        if isinstance(modules[name], (*CONVS, nn.Linear)):
            sightings.takers.setdefault(name, set()).update(_takers(node, modules))
    return sightings.wiring(network, "traced")


def _takers(node: fx.Node, modules: Mapping[str, nn.Module]) -> Iterator[str | None]:
    for user in node.users:
        if _asks(user):
            continue
        module = modules.get(str(user.target)) if user.op == "call_module" else None
        if isinstance(module, nn.Identity):
            yield from _takers(user, modules)
        else:
            yield str(user.target) if isinstance(module, BATCH_NORMS) else None


def _asks(node: fx.Node) -> bool:
    """A question about a tensor, such as its shape, takes nothing from it."""
    if node.op == "call_method":
        return node.target in _QUESTIONS
    return node.target is getattr and node.args[1] in _QUESTIONS


class _Watch(TorchFunctionMode):
    """Notes who takes which layer's output during one pass."""

    def __init__(self) -> None:
        super().__init__()
        self.sightings = _Sightings()
        self._makers: dict[int, str] = {}
        self._kept: list[Tensor] = []  # a freed tensor's id would be given to another
        self._inside = 0  # of a module that is kept whole

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        answer = func(*args, **(kwargs or {}))
        # A question about a tensor, such as its shape, takes nothing from it.
        if not self._inside and any(
            isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(answer)
        ):
            self._take(None, (args, kwargs))
        return answer

    def follow(self, name: str, module: nn.Module) -> None:
        """Watch one module that is kept whole."""

        def enter(_: nn.Module, inputs: Any) -> None:
            self._take(name if isinstance(module, BATCH_NORMS) else None, inputs)
            self.sightings.order.append(name)
            self._inside += 1

        def leave(_: nn.Module, __: Any, output: Any) -> None:
            self._inside -= 1
            if isinstance(output, Tensor) and isinstance(module, (*CONVS, nn.Linear)):
                self.sightings.takers.setdefault(name, set())
                self._makers[id(output)] = name
                self._kept.append(output)

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)

    def _take(self, taker: str | None, inputs: Any) -> None:
        for leaf in pytree.tree_leaves(inputs):
            if maker := self._makers.get(id(leaf)):
                self.sightings.takers[maker].add(taker)


def _watched(network: nn.Module, size: tuple[int, int, int]) -> Wiring:
    weight = next(network.parameters())
    watch = _Watch()
    for name, module in network.named_modules():
        if isinstance(module, _WHOLE):
            watch.follow(name, module)
    empty = torch.zeros(1, *size, dtype=weight.dtype, device=weight.device)
    with watch:
        network(empty)
    return watch.sightings.wiring(network, "watched")
