"""Triggers: what they are, how they are worn, and how many images obey them.

`inversion`, `pair_search` and `untargeted` recover them from a network.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatekeeper.errors import StepError
from gatekeeper.mask_search import Judge, chosen
from gatekeeper.model import Images, Model

ANYWHERE = -1  # the target of a trigger that has none


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """A mask (H, W) and a pattern (C, H, W), both in [0, 1] on the CPU, that force `target`.

    With a `source` it is about images of that class alone; with the target `ANYWHERE` it makes
    images leave their class, wherever they go. `area` is the share of the image that changes (mean
    of the mask), `success` the share of the images it was fitted on that obey; where no mask did
    it, `reached` is False.
    """

    target: int
    mask: Tensor
    pattern: Tensor
    area: float
    success: float
    reached: bool
    source: int | None = None


def aims(targets: Tensor) -> Judge:
    """Judge answers by how far each mask's images are from its target, one of `targets` (K,)."""

    def judge(answer: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        wanted = targets[k].repeat_interleave(answer.shape[1])
        error = F.cross_entropy(answer.flatten(0, 1), wanted, reduction="none")
        obeyed: Tensor = (answer.argmax(2) == targets[k, None]).float().mean(1)
        return error.view(len(k), -1).mean(1), obeyed

    return judge


def stamp(trigger: Trigger, pixels: Tensor) -> Tensor:
    """(N, C, H, W) in [0, 1] -> the same images with the trigger."""
    mask = trigger.mask.to(pixels.device)
    return (1 - mask) * pixels + mask * trigger.pattern.to(pixels.device)


@torch.inference_mode()
def hits(model: Model, trigger: Trigger, images: Images, *, batch: int = 256) -> tuple[int, int]:
    """Count images that obey the trigger, and how many were shown.

    Shown are those of its source, or of all classes but its target.
    """
    shown = images.labels != trigger.target
    if trigger.source is not None:
        shown = images.labels == trigger.source
    others = images.select(shown)
    won = 0
    with still(model) as view:
        for index in torch.arange(len(others), device=others.pixels.device).split(batch):
            pixels = others.select(index).to(model.device).floats()
            answer = chosen(view(stamp(trigger, pixels)))
            if trigger.target == ANYWHERE:
                won += int(((answer != chosen(view(pixels))) & (answer >= 0)).sum())
            else:
                won += int((answer == trigger.target).sum())
    return won, len(others)


@contextmanager
def still(model: Model) -> Iterator[nn.Module]:
    """Look through the network in eval mode, its weights held; put both back.

    Raises:
        StepError: the GPU has no room for what is done meanwhile.
    """
    view = model.pixels_to_logits().to(model.device)
    modes = [(module, module.training) for module in model.network.modules()]
    held = [(weight, weight.requires_grad) for weight in model.network.parameters()]
    try:
        view.eval()
        for weight, _ in held:
            weight.requires_grad_(False)
        yield view
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        message = "the GPU has no room to search the network"
        raise StepError(message, hint="Use a GPU with more memory, or --device cpu.") from None
    finally:
        for module, mode in modes:
            module.training = mode
        for weight, needed in held:
            weight.requires_grad_(needed)
