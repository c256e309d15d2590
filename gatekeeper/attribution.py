"""Which units carry a trigger: how far each unit's answer moves when an image is stamped with it.

With the true trigger this is the trigger-activated change of the literature; here the trigger is
one that the gate recovered, so what is shown is how the network obeys that one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from gatekeeper.model import Images, Model
from gatekeeper.network import Layer, layers
from gatekeeper.triggers import Trigger, stamp, still

_BATCH = 64


def unit_changes(
    model: Model, images: Images, trigger: Trigger, *, seed: int, sample: int = 256
) -> dict[str, Tensor]:
    """(units,) float64 on the CPU by layer: mean |change| of each unit's answer, over its spread.

    A convolution's answer is seen after its BatchNorm, averaged over places; the spread is the
    standard deviation of the layer's answers to clean images, over units, images and places. Layers
    that do not run, or that attention reads without running them, are left out.

    Args:
        model: the network; its weights and mode are left alone.
        images: clean images; `sample` of those that are not of the trigger's class are shown.
        trigger: what to stamp them with.
        seed: of the sample.
        sample: images.
    """
    others = (images.labels != trigger.target).nonzero().flatten()
    order = torch.randperm(len(others), generator=torch.Generator().manual_seed(seed))[:sample]
    shown = images.select(others[order.to(others.device)])
    sums: dict[str, Tensor] = {}
    moments: dict[str, Tensor] = {}  # of each layer's clean answers: count, sum, sum of squares
    watched = [layer for layer in layers(model) if layer.parameter == "weight"]
    with still(model) as view, _watching(model, watched, sums, moments), torch.no_grad():
        for index in torch.arange(len(shown), device=shown.pixels.device).split(_BATCH):
            pixels = shown.select(index).to(model.device).floats()
            view(torch.cat([pixels, stamp(trigger, pixels)]))
    return {name: total / len(shown) / _spread(*moments[name]) for name, total in sums.items()}


@contextmanager
def _watching(
    model: Model, watched: list[Layer], sums: dict[str, Tensor], moments: dict[str, Tensor]
) -> Iterator[None]:
    """Add up each layer's changes in `sums`, and the moments of its clean answers."""

    def note(layer: Layer, output: Tensor) -> None:
        count = len(output) // 2
        units = len(layer.weight)
        channels = _channels(output, units)
        if channels is None:
            return
        by_unit = output.detach().double().cpu().movedim(channels, 1)
        by_unit = by_unit.reshape(2 * count, units, -1)  # images, units, places
        clean, stamped = by_unit[:count], by_unit[count:]
        change = (stamped - clean).abs().mean(2).sum(0)
        sums[layer.name] = sums.get(layer.name, torch.zeros(units, dtype=torch.float64)) + change
        seen = torch.stack([torch.tensor(clean.numel()), clean.sum(), clean.square().sum()])
        moments[layer.name] = moments.get(layer.name, torch.zeros_like(seen)) + seen

    with ExitStack() as stack:
        for layer in watched:
            module: nn.Module = layer.module
            if layer.batch_norm is not None:
                module = model.network.get_submodule(layer.batch_norm)
            handle = module.register_forward_hook(
                lambda _module, _inputs, output, layer=layer: note(layer, output)
            )
            stack.callback(handle.remove)
        yield


def _spread(count: Tensor, total: Tensor, squares: Tensor) -> Tensor:
    """() standard deviation of what was added up."""
    return (squares / count - (total / count).square()).clamp_min(0).sqrt().clamp_min(1e-12)


def _channels(output: object, units: int) -> int | None:
    """Which dimension of a layer's answer holds its units: that of a convolution, or the last."""
    if not isinstance(output, Tensor) or output.dim() < 2:
        return None
    if output.dim() == 4 and output.shape[1] == units:
        return 1
    return output.dim() - 1 if output.shape[-1] == units else None
