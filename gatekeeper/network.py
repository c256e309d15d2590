"""Walks a network: its layers, their units, and which BatchNorm follows which layer.

A unit is one output channel of a convolution or one row of a linear layer. A BatchNorm belongs to
a layer where the graph says that it takes that layer's output and nothing else does; pairing by
the order of modules would be wrong on pre-activation networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, fx, nn

from gatekeeper.model import Model

Kind = Literal["conv", "linear"]
_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer with units; `batch_norm` names the BatchNorm that is folded into its norms."""

    name: str
    kind: Kind
    module: nn.Module
    batch_norm: str | None
    is_head: bool  # gives the class scores

    @property
    def weight(self) -> Tensor:
        """The layer's weight, first dimension: units."""
        weight: Tensor = self.module.get_parameter("weight").detach()
        return weight


def layers(model: Model) -> list[Layer]:
    """Every convolution and linear layer, in the order of the modules."""
    followers = _followers(model.network)
    found = [
        (name, module)
        for name, module in model.network.named_modules()
        if isinstance(module, (*_CONVS, nn.Linear)) and module.weight.numel()
    ]
    heads = [n for n, m in found if m.weight.shape[0] == len(model.classes)]
    return [
        Layer(
            name=name,
            kind="linear" if isinstance(module, nn.Linear) else "conv",
            module=module,
            batch_norm=followers.get(name),
            is_head=bool(heads) and name == heads[-1],
        )
        for name, module in found
    ]


def unit_norms(model: Model, layer: Layer) -> Tensor:
    """(units,) float64 on the CPU: L2 norm of each unit's weights, BatchNorm folded in."""
    weights = layer.weight.double().cpu().flatten(start_dim=1)  # (units, fan_in)
    norms: Tensor = weights.norm(dim=1)
    if layer.batch_norm is None:
        return norms
    norm = model.network.get_submodule(layer.batch_norm)
    variance = norm.get_buffer("running_var").double().cpu()
    scale: Tensor = (variance + float(getattr(norm, "eps", 1e-5))).rsqrt()
    if isinstance(gamma := getattr(norm, "weight", None), Tensor):
        scale = scale * gamma.detach().double().cpu().abs()
    return norms * scale


def norms(model: Model) -> dict[str, Tensor]:
    """Unit norms of every layer by its name."""
    return {layer.name: unit_norms(model, layer) for layer in layers(model)}


def _followers(network: nn.Module) -> dict[str, str]:
    """Names of layers and of the BatchNorm that alone takes their output, as the graph has it."""
    try:
        graph = _Tracer().trace(network)
    except Exception:  # a network that cannot be traced is served without folding
        return {}
    modules = dict(network.named_modules())
    pairs = {}
    for node in graph.nodes:
        if node.op != "call_module" or not isinstance(modules.get(str(node.target)), _NORMS):
            continue
        (source, *_) = node.all_input_nodes or (None,)
        layer = modules.get(str(source.target)) if source is not None else None
        if (
            source is not None
            and source.op == "call_module"
            and isinstance(layer, (*_CONVS, nn.Linear))
            and len(source.users) == 1
            and _has_statistics(modules[str(node.target)], layer)
        ):
            pairs[str(source.target)] = str(node.target)
    return pairs


def _has_statistics(norm: nn.Module, layer: nn.Module) -> bool:
    variance = getattr(norm, "running_var", None)
    return isinstance(variance, Tensor) and len(variance) == len(layer.get_parameter("weight"))


class _Tracer(fx.Tracer):
    """Keeps torch's own modules whole, and forgets nothing of the user's."""

    def trace(self, root: nn.Module, concrete_args: None = None) -> fx.Graph:  # type: ignore[override]
        with torch.no_grad():
            return super().trace(root, concrete_args)
