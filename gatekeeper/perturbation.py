"""Small changes of the input that mislead a network: one for each image, or one for all.

Projected gradient descent within an L-infinity ball (Madry et al., ICLR 2018).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatekeeper.mask_search import LEARNT_AT_ONCE, chosen
from gatekeeper.model import Images, Model
from gatekeeper.precision import autocast
from gatekeeper.training import logits
from gatekeeper.triggers import still

EPSILON = 8 / 255
_AT_ONCE = 128  # images in one pass
_PER_STEP = 48  # images per class and step, where one change is sought for all


def mislead(
    view: nn.Module, images: Images, *, epsilon: float = EPSILON, steps: int = 20
) -> Tensor:
    """(N, C, H, W) in [0, 1]: each image moved up the loss of its label, by at most `epsilon`.

    `view` takes pixels in [0, 1] to logits and is in eval mode; `images` are on its device.
    """
    clean = images.floats()
    moved = clean.clone()
    for _ in range(steps):
        moved.requires_grad_()
        loss = F.cross_entropy(view(moved).float(), images.labels, reduction="sum")
        (slope,) = torch.autograd.grad(loss, moved)
        moved = moved.detach() + 2.5 * epsilon / steps * slope.sign()
        moved = (clean + (moved - clean).clamp(-epsilon, epsilon)).clamp(0, 1)
    return moved


def robust_hits(model: Model, images: Images, *, steps: int = 20) -> int:
    """Count the images whose class is still named after `mislead` did its worst."""
    view = model.pixels_to_logits().to(model.device).eval()
    right = 0
    for index in torch.arange(len(images), device=images.pixels.device).split(_AT_ONCE):
        part = images.select(index).to(model.device)
        with torch.inference_mode(False):
            moved = mislead(view, part, steps=steps)
        with torch.no_grad():
            right += int((view(moved).argmax(1) == part.labels).sum())
    return right


def universal(
    model: Model, images: Images, wanted: Tensor, *, epsilon: float = EPSILON, steps: int = 60
) -> Tensor:
    """(1, C, H, W): ONE change of at most `epsilon` that brings the images to `wanted` (N,)."""
    view = model.pixels_to_logits().to(model.device).eval()
    images, wanted = images.to(model.device), wanted.to(model.device)
    change = torch.zeros_like(images.floats()[:1])
    for step in range(steps):
        first = step * _AT_ONCE % len(images)
        pixels, goal = images.floats()[first : first + _AT_ONCE], wanted[first : first + _AT_ONCE]
        change.requires_grad_()
        loss = F.cross_entropy(view((pixels + change).clamp(0, 1)).float(), goal)
        (slope,) = torch.autograd.grad(loss, change)
        change = (change.detach() - 4 * epsilon / steps * slope.sign()).clamp(-epsilon, epsilon)
    return change.cpu()


def universal_by_class(
    model: Model, images: Images, *, seed: int, epsilon: float = EPSILON, steps: int = 60
) -> tuple[Tensor, Tensor]:
    """Find for each class ONE change of at most `epsilon` that brings all images to it.

    Gives the changes (K, C, H, W) and the share (K,) of the images of other classes that obey,
    both on the CPU. Descends by the sign of a running mean of the gradients (Dong et al., CVPR
    2018), on images drawn by `seed`. All images lie on the device as floats: give a sample.
    """
    generator = torch.Generator().manual_seed(seed)
    images, count = images.to(model.device), len(model.classes)
    pixels = images.floats()
    change = torch.zeros(count, *pixels.shape[1:], device=model.device)
    mean = torch.zeros_like(change)
    most = max(1, LEARNT_AT_ONCE // (_PER_STEP * pixels[0].numel()))
    with still(model) as view:
        for step in range(steps):
            drawn = torch.randint(len(pixels), (_PER_STEP,), generator=generator)
            shown = pixels[drawn.to(pixels.device)]
            pace = 0.1 * epsilon * (1 - 0.8 * step / steps)
            for k in torch.arange(count, device=model.device).split(most):
                slope = _slope(view, shown, change[k], k)
                size = slope.abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-12)
                mean[k] = 0.9 * mean[k] + slope / size
                change[k] = (change[k] - pace * mean[k].sign()).clamp(-epsilon, epsilon)
    obeying = [_obeying(model, images, change[k : k + 1], k) for k in range(count)]
    return change.cpu(), torch.tensor(obeying)


def _slope(view: nn.Module, shown: Tensor, change: Tensor, targets: Tensor) -> Tensor:
    """(K, C, H, W): how each class's change raises the loss of taking `shown` for that class."""
    change = change.detach().requires_grad_()
    moved = (shown + change[:, None]).clamp(0, 1).flatten(0, 1)  # (K * N, C, H, W)
    with autocast(shown.device, "auto"):
        answer = view(moved.contiguous(memory_format=torch.channels_last))
    wanted = targets.repeat_interleave(len(shown))
    (slope,) = torch.autograd.grad(F.cross_entropy(answer.float(), wanted), change)
    return slope


def _obeying(model: Model, images: Images, change: Tensor, target: int) -> float:
    others = images.select(images.labels != target)
    wanted = torch.full_like(others.labels, target)
    return moved_hits(model, others, wanted, change) / max(1, len(others))


def moved_hits(model: Model, images: Images, wanted: Tensor, change: Tensor) -> int:
    """Count the images that are taken for `wanted` (N,) once `change` (1, C, H, W) is added."""
    pixels = (images.floats() + change.to(images.pixels.device)).clamp(0, 1)
    moved = Images(
        pixels=pixels.mul(255).round().to(torch.uint8), labels=images.labels, classes=images.classes
    )
    return int((chosen(logits(model, moved)) == wanted.cpu()).sum())
