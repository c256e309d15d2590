"""Small changes of the input that mislead a network: one for each image, or one for all.

Projected gradient descent within an L-infinity ball (Madry et al., ICLR 2018).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatekeeper.model import Images, Model
from gatekeeper.training import predictions

EPSILON = 8 / 255
_AT_ONCE = 128  # images in one pass


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


def moved_hits(model: Model, images: Images, wanted: Tensor, change: Tensor) -> int:
    """Count the images that are taken for `wanted` (N,) once `change` (1, C, H, W) is added."""
    pixels = (images.floats() + change.to(images.pixels.device)).clamp(0, 1)
    moved = Images(
        pixels=pixels.mul(255).round().to(torch.uint8), labels=images.labels, classes=images.classes
    )
    return int((predictions(model, moved) == wanted.cpu()).sum())
