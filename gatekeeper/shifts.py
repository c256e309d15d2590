"""How little must a hidden layer's answer shift, alike for all images, to reach each class?

A backdoor whose trigger is a warp or differs from image to image leaves no small patch in the
pixels. Inside the network it still is one direction: the least shift of the channels of a layer
that brings all images to a class is shorter for its target than for the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatekeeper.mask_search import LEARNT_AT_ONCE
from gatekeeper.model import Images, Model
from gatekeeper.network import layers
from gatekeeper.precision import autocast
from gatekeeper.triggers import still

_PER_STEP = 32  # images per class and step
_MEASURED = 128  # images that tell how far each channel usually varies
_ASKED = 8  # images that tell whether a module carries all
_TRIED = 40  # modules that are asked at most
_TURN = 0.4  # of the direction, at first
_LAST = 15  # steps whose lengths are averaged


def least_shifts(
    model: Model,
    images: Images,
    *,
    seed: int,
    depth: float,
    steps: int = 60,
    success: float = 0.9,
) -> Tensor | None:
    """(classes,) float32 on the CPU: the length of the shift that brings `success` of images there.

    It is the L2 norm over channels, each in its own standard deviations on `images`. None where no
    module near `depth` carries all of the network's answer.

    Args:
        model: the network; its weights and mode are left alone.
        images: clean images, drawn by `seed`.
        seed: of the order of images.
        depth: share of the layers with weights that come before the shift, in [0, 1].
        steps: of the search.
        success: share in [0, 1] of the images that must obey.
    """
    generator = torch.Generator().manual_seed(seed)
    images = images.to(model.device)
    order = torch.randperm(len(images), generator=generator).to(model.device)
    with still(model) as view:
        few = images.select(order[:_MEASURED]).floats()
        module = _cut(model, view, few[:_ASKED], depth)
        if module is None:
            return None
        spread = _spread(module, view, few)
        search = _Search(view, module, spread, len(model.classes), success)
        found = []
        for step in range(steps):
            drawn = torch.randint(len(images), (_PER_STEP,), generator=generator)
            pixels = images.select(drawn.to(model.device)).floats()
            search.step(pixels, step / steps)
            found.append(search.length.clone())
    return torch.stack(found[-_LAST:]).mean(0).cpu()


class _Search:
    """For each class a direction, and the length at which enough images follow it."""

    def __init__(
        self, view: nn.Module, module: nn.Module, spread: Tensor, classes: int, success: float
    ) -> None:
        self.view, self.module, self.spread, self.success = view, module, spread, success
        self.direction = torch.zeros(classes, len(spread), device=spread.device)
        self.pace = torch.zeros_like(self.direction)
        self.length = torch.ones(classes, device=spread.device)

    def step(self, pixels: Tensor, progress: float) -> None:
        """Turn each direction towards its class, and let its length follow who obeys."""
        every = torch.arange(len(self.length), device=pixels.device)
        for k in every.split(max(1, LEARNT_AT_ONCE // pixels.numel())):
            slope, obeyed = self._slope(pixels, k)
            self.pace[k] = 0.8 * self.pace[k] + _unit(slope)
            turn = _TURN * (1 - 0.9 * progress)
            self.direction[k] = _unit(self.direction[k] - turn * _unit(self.pace[k]))
            shorter = 1 / 1.12 if progress < 0.5 else 1 / 1.05
            self.length[k] *= torch.where(obeyed < self.success, 1.12, shorter)

    def _slope(self, pixels: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """(k, channels) and (k,): how the shift changes the loss; share of images that obey."""
        shift = (self.direction[k] * self.length[k, None]).requires_grad_()
        shown = pixels.repeat(len(k), 1, 1, 1).contiguous(memory_format=torch.channels_last)
        added = (shift * self.spread).repeat_interleave(len(pixels), 0)
        with _shifted(self.module, added), autocast(pixels.device, "auto"):
            answer = self.view(shown)
        wanted = k.repeat_interleave(len(pixels))
        error = F.cross_entropy(answer.float(), wanted, reduction="sum")
        (slope,) = torch.autograd.grad(error, shift)
        return slope, (answer.argmax(1) == wanted).float().view(len(k), -1).mean(1)


def _unit(rows: Tensor) -> Tensor:
    lengths: Tensor = rows.norm(dim=1, keepdim=True)
    return rows / lengths.clamp_min(1e-12)


@contextmanager
def _shifted(module: nn.Module, added: Tensor) -> Iterator[None]:
    """Add (N, channels) to what `module` gives."""

    def add(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        shape = [len(added)] + [1] * (output.dim() - 1)
        shape[_channels(output)] = added.shape[1]
        return output + added.to(output.dtype).view(shape)

    handle = module.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def _channels(output: Tensor) -> int:
    """Which dimension of an answer holds the channels."""
    if output.dim() == 3:
        return 2  # (images, tokens, channels)
    last = output.dim() == 4 and output.shape[1] == output.shape[2] != output.shape[3]
    return 3 if last else 1


@torch.no_grad()
def _spread(module: nn.Module, view: nn.Module, pixels: Tensor) -> Tensor:
    """(channels,) standard deviations of what `module` gives; a tenth of the mean at least."""
    seen: list[Tensor] = []
    handle = module.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    try:
        view(pixels)
    finally:
        handle.remove()
    channels = _channels(seen[0])
    spread = seen[0].float().transpose(0, channels).flatten(1).std(1)
    return spread.clamp_min(0.1 * float(spread.mean()) + 1e-12)


@torch.no_grad()
def _cut(model: Model, view: nn.Module, pixels: Tensor, depth: float) -> nn.Module | None:
    """Find the module nearest to `depth` whose one answer is all that the rest depends on."""
    weighted = {layer.name for layer in layers(model) if not layer.is_head}
    finished: list[str] = []
    shapes: dict[str, Tensor] = {}

    def note(name: str, output: object) -> None:
        finished.append(name)
        if isinstance(output, Tensor) and output.dim() >= 2 and len(output) == len(pixels):
            shapes[name] = output

    named: dict[str, nn.Module] = dict(model.network.named_modules())
    handles = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
        for name, module in named.items()
    ]
    try:
        whole = view(pixels)
    finally:
        for handle in handles:
            handle.remove()
    before, passed = {}, 0
    for name in finished:
        passed += name in weighted
        if name and name in shapes and finished.count(name) == 1 and passed:
            before[name] = passed / max(1, len(weighted))
    heads = {layer.name for layer in layers(model) if layer.is_head}
    near = sorted(before, key=lambda name: abs(before[name] - depth))
    for name in [name for name in near if name not in heads][:_TRIED]:
        handle = named[name].register_forward_hook(
            lambda _module, _inputs, output: output.roll(1, 0)
        )
        try:
            swapped = view(pixels)
        finally:
            handle.remove()
        if torch.allclose(swapped, whole.roll(1, 0), atol=1e-4, rtol=1e-3):
            return named[name]
    return None
