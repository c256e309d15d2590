"""The smallest trigger that makes images of every class leave it, wherever they go.

An all-to-all backdoor sends each class to another, so no class is too easy to reach. What is too
easy is to leave: one mask and one pattern do it for all. Where images went tells the mapping.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from gatekeeper.mask_search import TRIED_AT_ONCE, Best, MaskSearch, Pace, blend, chosen
from gatekeeper.model import Images, Model
from gatekeeper.triggers import still

_PER_STEP = 24  # images per start and step
_TAKEN = 10  # steps between two looks at the whole sample


@dataclass(frozen=True, kw_only=True)
class Diversion:
    """A mask (H, W) and a pattern (C, H, W), both in [0, 1] on the CPU, and where images go.

    `area` is the share of the image that changes, `success` the share of the sample that leaves its
    class; where no mask did it, `reached` is False. `destinations` names for each class the class
    that most of its images went to, None where none left or none was shown; `together` is the share
    of the images that left which went where most of their class did.
    """

    mask: Tensor
    pattern: Tensor
    area: float
    success: float
    reached: bool
    destinations: tuple[int | None, ...]
    together: float


def divert(
    model: Model,
    images: Images,
    *,
    seed: int,
    starts: int = 6,
    steps: int = 150,
    sample: int = 192,
    success: float = 0.9,
) -> Diversion:
    """Search from several starts for the smallest trigger that `success` of a sample obey.

    A class is what the network itself takes an image for. Arguments as of `inversion.invert`.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=generator)[:sample]
    shown = images.select(order.to(images.pixels.device)).to(model.device)
    pixels = shown.floats()
    pace = Pace(
        lr=0.2, slowing=0.8, wanted=success, plenty=(1 + success) / 2, cheaper=1 / 1.2, dearer=1.15,
        memory=0.7,
    )  # fmt: skip
    channels, height, width = pixels.shape[1:]
    with still(model) as view:
        own = _named(view, pixels)
        learning = MaskSearch(
            view, starts, (channels, height, width), generator, pace, price=1.0,
            device=pixels.device,
        )  # fmt: skip
        best = Best(learning, success, partial(_left, view, pixels, own))
        for step in range(steps):
            drawn = torch.randint(len(pixels), (_PER_STEP,), generator=generator)
            drawn = drawn.to(pixels.device)
            _leave(learning, pixels[drawn], own[drawn], step / steps)
            if step % _TAKEN == _TAKEN - 1 or step == steps - 1:
                best.consider()
        best.sharpen()
        k = int(torch.where(best.area.isfinite(), best.area - 1, 1 - best.share).argmin())
        mask, pattern = best.mask[k : k + 1], best.pattern[k : k + 1]
        answer = _named(view, blend(pixels, mask, pattern))
    destinations, together = _destinations(own, answer, len(model.classes))
    return Diversion(
        mask=mask[0, 0].cpu(), pattern=pattern[0].cpu(), area=float(mask.mean()),
        success=float(best.share[k]), reached=bool(best.area[k].isfinite()),
        destinations=destinations, together=together,
    )  # fmt: skip


@torch.no_grad()
def _named(view: nn.Module, pixels: Tensor) -> Tensor:
    """(N,) the classes that the network takes (N, C, H, W) for; -1 where it is broken."""
    groups = pixels.split(max(1, TRIED_AT_ONCE // pixels[0].numel()))
    return torch.cat([chosen(view(group)) for group in groups])


def _left(view: nn.Module, pixels: Tensor, own: Tensor, mask: Tensor, pattern: Tensor) -> Tensor:
    """(K,) shares of the images that leave their class `own` (N,) under each mask."""
    answers = [
        _named(view, blend(pixels, mask[k : k + 1], pattern[k : k + 1])) for k in range(len(mask))
    ]
    return torch.stack([((answer != own) & (answer >= 0)).double().mean() for answer in answers])


def _leave(learning: MaskSearch, pixels: Tensor, own: Tensor, progress: float) -> None:
    """Take a step away from the classes `own` (n,) of the images (n, C, H, W)."""

    def judge(answer: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        staying = own.repeat(len(k), 1)  # (k, n)
        chances = answer.log_softmax(2)
        others = chances.scatter(2, staying[:, :, None], -torch.inf).logsumexp(2)
        return -others.mean(1), (answer.argmax(2) != staying).float().mean(1)

    learning.step(lambda _: pixels, judge, progress=progress)


def _destinations(
    own: Tensor, answer: Tensor, classes: int
) -> tuple[tuple[int | None, ...], float]:
    went = torch.zeros(classes, classes, dtype=torch.long)
    left = (own != answer) & (own >= 0) & (answer >= 0)
    went.index_put_(
        (own[left].cpu(), answer[left].cpu()),
        torch.ones(int(left.sum()), dtype=torch.long),
        accumulate=True,
    )
    most, places = went.max(1)
    destinations = [
        int(place) if count else None
        for place, count in zip(places.tolist(), most.tolist(), strict=True)
    ]
    return tuple(destinations), float(most.sum()) / max(1, int(went.sum()))
