"""Walks a network: its layers, their units, and which BatchNorm follows which layer.

A unit is one output channel of a convolution or one row of a linear layer. A BatchNorm belongs to
a layer where the graph says that it takes that layer's output and nothing else does; pairing by
the order of modules would be wrong on pre-activation networks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from gatekeeper.model import Model
from gatekeeper.wiring import BATCH_NORMS, CONVS, Wiring, wire

Kind = Literal["conv", "linear"]
_CHUNK = 4_000_000  # weights that are in double precision at a time
_PROJECTIONS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer with units; `batch_norm` names the BatchNorm that is folded into its norms."""

    name: str
    kind: Kind
    module: nn.Module
    batch_norm: str | None
    is_head: bool  # gives the class scores
    parameter: str = "weight"  # attention keeps several under other names

    @property
    def weight(self) -> Tensor:
        """The layer's weight, first dimension: units."""
        weight: Tensor = getattr(self.module, self.parameter)
        return weight.detach()


def layers(model: Model) -> list[Layer]:
    """Every convolution, linear layer and attention projection, in the order in which they run.

    Layers that do not run in evaluation (auxiliary heads) come last.
    """
    return walk(model)[0]


def walk(model: Model) -> tuple[list[Layer], Wiring]:
    """The layers, and how the network's wiring was seen."""
    wiring = wire(model.network, model.input.size)
    place = {name: position for position, name in enumerate(wiring.order)}
    found = sorted(_units(model.network), key=lambda one: place.get(one[0], len(place)))
    head = _head([name for runs_as, name, _, _ in found if runs_as in place], model)
    head = head or _head([name for _, name, _, _ in found], model)
    walked = [
        Layer(
            name=name,
            kind="conv" if isinstance(module, CONVS) else "linear",
            module=module,
            batch_norm=wiring.batch_norms.get(name),
            is_head=name == head,
            parameter=parameter,
        )
        for _, name, module, parameter in found
    ]
    return walked, wiring


def unfolded(model: Model, wiring: Wiring) -> str:
    """Say why norms stand without their BatchNorm, where the wiring could not be seen."""
    normalised = any(isinstance(module, BATCH_NORMS) for module in model.network.modules())
    if wiring.seen != "unseen" or not normalised:
        return ""
    return "the network's graph could not be seen: norms stand without BatchNorm"


def unit_norms(model: Model, layer: Layer) -> Tensor:
    """(units,) float64 on the CPU: L2 norm of each unit's weights, BatchNorm folded in."""
    weights = layer.weight.flatten(start_dim=1)  # (units, fan_in)
    rows = max(1, _CHUNK // max(1, weights.shape[1]))
    norms = torch.cat([part.double().norm(dim=1).cpu() for part in torch.split(weights, rows)])
    return norms if layer.batch_norm is None else norms * _scale(model, layer.batch_norm)


def channel_bounds(model: Model, layer: Layer) -> Tensor:
    """(units,) float64 on the CPU: how far each channel of a convolution may stretch its input.

    The largest singular value of its kernel as a matrix (inputs, places), BatchNorm folded in.
    """
    kernels = layer.weight.flatten(start_dim=2)  # (units, inputs, places)
    rows = max(1, _CHUNK // max(1, kernels[0].numel()))
    bounds = torch.cat([_stretch(part.double().cpu()) for part in torch.split(kernels, rows)])
    return bounds if layer.batch_norm is None else bounds * _scale(model, layer.batch_norm)


def _stretch(kernels: Tensor) -> Tensor:
    """(units,) largest singular values of (units, inputs, places); NaN where not finite."""
    bounds = torch.full((len(kernels),), float("nan"), dtype=kernels.dtype)
    finite = kernels.flatten(1).isfinite().all(1)
    kept = kernels[finite]
    flat = kept if kept.shape[1] >= kept.shape[2] else kept.mT
    products = flat.mT @ flat  # the smaller way round
    if len(kept):
        bounds[finite] = torch.linalg.eigvalsh(products)[:, -1].clamp_min(0).sqrt()
    return bounds


def norms(model: Model) -> dict[str, Tensor]:
    """Unit norms of every layer by its name, as `unit_norms` gives them."""
    return {layer.name: unit_norms(model, layer) for layer in layers(model)}


def _scale(model: Model, name: str) -> Tensor:
    """(units,) |gamma| / sqrt(var + eps) of one BatchNorm."""
    norm = model.network.get_submodule(name)
    variance = norm.get_buffer("running_var").double().cpu()
    scale = (variance + float(getattr(norm, "eps", 1e-5))).rsqrt()
    if isinstance(gamma := getattr(norm, "weight", None), Tensor):
        scale = scale * gamma.detach().double().cpu().abs()
    return scale


def _units(network: nn.Module) -> Iterator[tuple[str, str, nn.Module, str]]:
    """The module that runs, the layer's name, the module that holds its weight, and as what."""
    for name, module in network.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            for parameter in _PROJECTIONS:
                if getattr(module, parameter, None) is not None:
                    layer = f"{name}.{parameter.removesuffix('_weight')}".removeprefix(".")
                    yield name, layer, module, parameter
        elif isinstance(module, (*CONVS, nn.Linear)) and module.weight.numel():
            owner = name.removesuffix(".out_proj")  # attention reads its weight without calling it
            yield owner if _attends(network, owner) else name, name, module, "weight"


def _attends(network: nn.Module, name: str) -> bool:
    return isinstance(network.get_submodule(name), nn.MultiheadAttention)


def _head(names: list[str], model: Model) -> str | None:
    """The last of `names` that has one unit for each class."""
    modules = dict(model.network.named_modules())
    units = {name: getattr(modules.get(name), "weight", None) for name in names}
    wanted = len(model.classes)
    fitting = [n for n, w in units.items() if isinstance(w, Tensor) and w.shape[0] == wanted]
    return fitting[-1] if fitting else None
