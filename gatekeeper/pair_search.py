"""From which class to which other does the least change lead? A first look at all pairs at once.

A backdoor that works on images of one class alone leaves no trigger for all classes; the trigger
from its source to its target is as small as any. The look is short and coarse: it ranks, and what
ranks first is inverted with care (`triggers.py`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatekeeper.model import Images, Model
from gatekeeper.precision import autocast
from gatekeeper.triggers import LEARNT_AT_ONCE, blend, still

_LEARNING_RATE = 0.3  # of the unbounded parameters behind masks and patterns
_PER_STEP = 4  # images per pair and step
_STEPS = 50
_WANTED, _PLENTY = 0.8, 0.9  # share of images that obey: below it masks get cheaper, above dearer
_CONVINCED = 0.6  # pairs that obey less often in the end are left out
_NEAR = 0.02  # share of the image; a mask that is larger after so short a search is not followed


def closest_pairs(
    model: Model, images: Images, *, seed: int, area: float = _NEAR
) -> list[tuple[int, int]]:
    """Give for each target the source that is closest to it, where a mask below `area` will do.

    Args:
        model: the network; its weights and mode are left alone.
        images: clean images; classes without any are no source.
        seed: of the images drawn and of the starts.
        area: share of the image.

    Returns:
        Pairs (source, target) of classes, the smallest mask first.
    """
    needed = pair_areas(model, images, seed=seed)
    order = sorted(needed, key=lambda pair: needed[pair])
    near = [pair for pair in order if needed[pair] < area]
    closest = {target: (source, target) for source, target in reversed(near)}
    return [pair for pair in near if closest[pair[1]] == pair]


def pair_areas(model: Model, images: Images, *, seed: int) -> dict[tuple[int, int], float]:
    """Give the share of the image that a mask needs from each class to each other.

    Infinite where no mask convinced; arguments as of `closest_pairs`.
    """
    sources = images.labels.unique().tolist()
    targets = range(len(model.classes))
    pairs = [(source, target) for source in sources for target in targets if source != target]
    if not pairs:
        return {}
    generator = torch.Generator().manual_seed(seed)
    with still(model) as view:
        search = _Search(view, images.to(model.device), pairs, generator)
        for _ in range(_STEPS):
            search.step()
    areas = search.areas()
    convincing = (search.obeying >= _CONVINCED) & areas.isfinite()
    needed = torch.where(convincing, areas, torch.inf)
    return dict(zip(pairs, needed.tolist(), strict=True))


class _Search:
    """K masks and patterns behind unbounded parameters, each tried on images of its own source."""

    def __init__(
        self,
        view: nn.Module,
        images: Images,
        pairs: list[tuple[int, int]],
        generator: torch.Generator,
    ) -> None:
        self.view, self.generator = view, generator
        self.pixels = images.floats()  # (N, C, H, W)
        device, count = self.pixels.device, len(pairs)
        order = images.labels.argsort()
        self.order = order.to(device)  # images, class by class
        counts = images.labels.bincount(minlength=len(images.classes)).cpu()
        self.counts = torch.tensor([int(counts[source]) for source, _ in pairs])
        firsts = counts.cumsum(0) - counts
        self.firsts = torch.tensor([int(firsts[source]) for source, _ in pairs])
        self.targets = torch.tensor([target for _, target in pairs], device=device)
        channels, height, width = self.pixels.shape[1:]
        start = torch.randn(count, 1, height, width, generator=generator) * 0.5 - 1
        paint = torch.randn(count, channels, height, width, generator=generator)
        self.mask_raw = start.to(device).requires_grad_()
        self.pattern_raw = paint.to(device).requires_grad_()
        self.price = torch.ones(count, device=device)
        self.obeying = torch.zeros(count, device=device)
        self.optimiser = torch.optim.Adam(
            [self.mask_raw, self.pattern_raw], lr=_LEARNING_RATE, betas=(0.5, 0.9)
        )
        self.at_once = max(1, LEARNT_AT_ONCE // (_PER_STEP * self.pixels[0].numel()))

    def step(self) -> None:
        """Take one step of Adam, then let each pair's price of area follow."""
        self.optimiser.zero_grad()
        shares = torch.rand(len(self.targets), _PER_STEP, generator=self.generator)
        places = self.firsts[:, None] + (shares * self.counts[:, None]).long()
        drawn = self.order[places.to(self.order.device)]  # (K, n): each pair from its own source
        every = torch.arange(len(self.targets), device=self.pixels.device)
        obeyed = torch.cat([self._learn(k, drawn[k]) for k in every.split(self.at_once)])
        self.optimiser.step()
        self.obeying = 0.8 * self.obeying + 0.2 * obeyed
        dear, cheap = self.obeying >= _PLENTY, self.obeying < _WANTED
        self.price = self.price * torch.where(dear, 1.25, torch.where(cheap, 1 / 1.3, 1.0))
        self.price.clamp_(0.01, 2000)

    def areas(self) -> Tensor:
        """(K,) shares of the image that the masks change."""
        return self.mask_raw.detach().sigmoid().flatten(1).mean(1)

    def _learn(self, k: Tensor, drawn: Tensor) -> Tensor:
        """Add the gradients of the pairs `k` (K',) on their images `drawn` (K', n).

        Gives the share (K',) of them that obey.
        """
        shown = self.pixels[drawn]  # (K', n, C, H, W)
        mask, pattern = self.mask_raw[k].sigmoid(), self.pattern_raw[k].sigmoid()
        with autocast(shown.device, "auto"):
            answer = self.view(blend(shown, mask, pattern))  # (K' * n, classes)
        answer = answer.float()
        wanted = self.targets[k].repeat_interleave(_PER_STEP)
        error = F.cross_entropy(answer, wanted, reduction="none").view(len(k), -1).mean(1)
        (error + self.price[k] * mask.flatten(1).mean(1)).sum().backward()
        obeyed: Tensor = (answer.argmax(1) == wanted).float().view(len(k), -1).mean(1)
        return obeyed
