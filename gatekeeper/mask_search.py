"""Masks and patterns that are learnt side by side, each as small as its goal allows.

K masks m in [0, 1]^(HxW) and patterns p in [0, 1]^(CxHxW) lie behind unbounded parameters; each
pays a price for its area, which follows how many images obey. What obeying means, and which images
are shown, is for the search that owns them (`inversion.py`, `pair_search.py`, `untargeted.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gatekeeper.precision import autocast

# Values of all images in one pass, so that its memory grows with neither masks nor resolution.
LEARNT_AT_ONCE = 32 * 3 * 224 * 224
TRIED_AT_ONCE = 5 * LEARNT_AT_ONCE  # where no gradients are kept
_CHEAPEST, _DEAREST = 0.01, 2000.0

# Answers (k, n, classes) and which masks they belong to (k,) -> error (k,), share that obeys (k,).
Judge = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast masks are learnt, and how their price follows the share of images that obey."""

    lr: float  # of Adam, on the unbounded parameters
    slowing: float  # share of it that is gone at the end
    wanted: float  # share of images; a mask that fewer obey gets cheaper
    plenty: float  # a mask that so many obey gets dearer
    cheaper: float  # factors of the price
    dearer: float
    memory: float  # of the running share


class MaskSearch:
    """The state of one search."""

    def __init__(
        self,
        view: nn.Module,
        count: int,
        shape: tuple[int, int, int],
        generator: torch.Generator,
        pace: Pace,
        *,
        price: float,
        device: torch.device,
    ) -> None:
        """Begin with `count` random masks and patterns for images of `shape` (C, H, W)."""
        self.view, self.pace = view, pace
        channels, height, width = shape
        start = torch.randn(count, 1, height, width, generator=generator) * 0.5 - 1
        paint = torch.randn(count, channels, height, width, generator=generator)
        self.mask_raw = start.to(device).requires_grad_()
        self.pattern_raw = paint.to(device).requires_grad_()
        self.price = torch.full((count,), price, device=device)
        self.obeying = torch.zeros(count, device=device)  # running share of images
        self.optimiser = torch.optim.Adam(
            [self.mask_raw, self.pattern_raw], lr=pace.lr, betas=(0.5, 0.9)
        )

    def step(self, shown: Callable[[Tensor], Tensor], judge: Judge, *, progress: float) -> None:
        """Take one step of Adam, then let each price follow.

        Args:
            shown: gives for masks (k,) the images that they are tried on, (n, C, H, W) in [0, 1]
                for all or (k, n, C, H, W) for each its own.
            judge: says how far the answers are from the goal, and how many obey.
            progress: share of the steps that was taken.
        """
        pace = self.pace
        self.optimiser.zero_grad()
        every = torch.arange(len(self.price), device=self.price.device)
        first = shown(every[:1])
        most = max(1, LEARNT_AT_ONCE // first.numel())
        obeyed = torch.cat([self._learn(k, shown(k), judge) for k in every.split(most)])
        self.optimiser.param_groups[0]["lr"] = pace.lr * (1 - pace.slowing * progress)
        self.optimiser.step()
        self.obeying = pace.memory * self.obeying + (1 - pace.memory) * obeyed
        dear, cheap = self.obeying >= pace.plenty, self.obeying < pace.wanted
        change = torch.where(dear, pace.dearer, torch.where(cheap, pace.cheaper, 1.0))
        self.price = (self.price * change).clamp_(_CHEAPEST, _DEAREST)

    def keep(self, kept: Tensor) -> None:
        """Go on with the masks `kept` (k,) alone."""
        state = self.optimiser.state_dict()["state"]
        self.mask_raw = self.mask_raw.detach()[kept].requires_grad_()
        self.pattern_raw = self.pattern_raw.detach()[kept].requires_grad_()
        self.price, self.obeying = self.price[kept], self.obeying[kept]
        self.optimiser = torch.optim.Adam(
            [self.mask_raw, self.pattern_raw], lr=self.pace.lr, betas=(0.5, 0.9)
        )
        fresh = self.optimiser.state_dict()
        fresh["state"] = {
            place: {
                name: value[kept] if value.ndim else value for name, value in moments.items()
            }
            for place, moments in state.items()
        }  # fmt: skip
        self.optimiser.load_state_dict(fresh)

    def masks(self) -> Tensor:
        """(K, 1, H, W) in [0, 1]."""
        return self.mask_raw.detach().sigmoid()

    def patterns(self) -> Tensor:
        """(K, C, H, W) in [0, 1]."""
        return self.pattern_raw.detach().sigmoid()

    def areas(self) -> Tensor:
        """(K,) shares of the image that the masks change."""
        return self.masks().flatten(1).mean(1)

    def _learn(self, k: Tensor, pixels: Tensor, judge: Judge) -> Tensor:
        """Add the gradients of the masks `k` (k,); give the share (k,) of images that obey."""
        mask, pattern = self.mask_raw[k].sigmoid(), self.pattern_raw[k].sigmoid()
        with autocast(pixels.device, "auto"):
            answer = self.view(blend(pixels, mask, pattern))  # (k * n, classes)
        error, obeyed = judge(answer.float().unflatten(0, (len(k), -1)), k)
        (error + self.price[k] * mask.flatten(1).mean(1)).sum().backward()
        return obeyed


class Best:
    """The smallest mask of each search so far that convinced enough of a whole sample."""

    def __init__(
        self,
        learning: MaskSearch,
        success: float,
        obeyed: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        """Hold the masks of `learning` against `success`.

        Args:
            learning: the search.
            success: share in [0, 1] of the sample that must obey.
            obeyed: masks (K, 1, H, W), patterns (K, C, H, W) -> share (K,), float64, that obeys.
        """
        self.learning, self.success, self.obeyed = learning, success, obeyed
        count, device = len(learning.price), learning.price.device
        self.area = torch.full((count,), float("inf"), device=device)  # of masks that convinced
        self.share = torch.zeros(count, dtype=torch.float64, device=device)
        self.mask, self.pattern = learning.masks(), learning.patterns()

    @torch.no_grad()
    def consider(self) -> None:
        """Look at the masks as they are now."""
        self._consider(self.learning.masks(), self.learning.patterns())

    @torch.no_grad()
    def sharpen(self) -> None:
        """Try the best masks without their faint parts, which inflate the area for nothing."""
        for faint in (0.05, 0.1, 0.2, 0.3):
            mask = torch.where(self.mask < faint, 0.0, self.mask)
            self._consider(mask, self.pattern.clone())

    def _consider(self, mask: Tensor, pattern: Tensor) -> None:
        obeyed = self.obeyed(mask, pattern)
        area = mask.flatten(1).mean(1)
        better = (obeyed >= self.success) & (area < self.area)
        # What did not convince yet shows its most convincing mask.
        better |= self.area.isinf() & (obeyed > self.share)
        better &= area.isfinite()  # a broken network breaks its masks too
        self.mask[better] = mask[better]
        self.pattern[better] = pattern[better]
        self.share[better] = obeyed[better]
        reached = better & (obeyed >= self.success)
        self.area[reached] = area[reached]


def blend(pixels: Tensor, mask: Tensor, pattern: Tensor) -> Tensor:
    """Every image with every trigger: (N, C, H, W), (K, 1, H, W), (K, C, H, W) -> (K * N, ...).

    Where the images are (K, N, C, H, W), each trigger has its own.
    """
    shown = pixels + mask[:, None] * (pattern[:, None] - pixels)  # (K, N, C, H, W)
    # Convolutions run faster where the channels of a pixel lie side by side.
    return shown.flatten(0, 1).contiguous(memory_format=torch.channels_last)


def chosen(answer: Tensor) -> Tensor:
    """(N, classes) -> (N,): the class with the largest logit; -1 where an answer is not finite."""
    return torch.where(answer.isfinite().all(1), answer.argmax(1), -1)
