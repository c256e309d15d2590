"""From which class to which other does the least change lead? A first look at all pairs at once.

A backdoor that works on images of one class alone leaves no trigger for all classes; the trigger
from its source to its target is as small as any. The look is short and coarse: it ranks, and what
ranks first is inverted with care (`inversion.py`).
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from gatekeeper.inversion import invert
from gatekeeper.mask_search import MaskSearch, Pace
from gatekeeper.model import Images, Model
from gatekeeper.triggers import Trigger, aims, still

_LEARNING_RATE = 0.3  # of the unbounded parameters behind masks and patterns
_PER_STEP = 4  # images per pair and step
_STEPS, _COARSE = 50, 20
_FOLLOWED = 400  # pairs; where there are more, the coarse steps choose
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


def careful_pairs(
    model: Model, images: Images, *, seed: int, most: int = 8, least: int = 10
) -> list[Trigger]:
    """Invert, with all the care of `inversion.invert`, the pairs that the first look finds closest.

    Args:
        model: the network; its weights and mode are left alone.
        images: clean images.
        seed: of the searches.
        most: pairs.
        least: images of a source, below which any small change misleads all of them.

    Returns:
        Triggers with their sources, the smallest first; those that convince no one are left out.
    """
    needed = pair_areas(model, images, seed=seed, least=least)
    order = sorted((area, pair) for pair, area in needed.items() if math.isfinite(area))
    found = []
    for _, (source, target) in order[:most]:
        own = images.select(images.labels == source)
        trigger = invert(model, own, seed=seed, classes=[target])[0]
        if trigger.reached:
            found.append(replace(trigger, source=source))
    return sorted(found, key=lambda trigger: trigger.area)


def pair_areas(
    model: Model, images: Images, *, seed: int, least: int = 1
) -> dict[tuple[int, int], float]:
    """Give the share of the image that a mask needs from each class to each other.

    Infinite where no mask convinced, and where there are so many pairs that only those which were
    easiest to convince at first were followed. Sources with fewer than `least` images are left out;
    arguments as of `closest_pairs`.
    """
    counts = images.labels.bincount(minlength=len(model.classes)).tolist()
    sources = [source for source, count in enumerate(counts) if count >= max(1, least)]
    targets = range(len(model.classes))
    pairs = [(source, target) for source in sources for target in targets if source != target]
    if not pairs:
        return {}
    generator = torch.Generator().manual_seed(seed)
    with still(model) as view:
        search = _Search(view, images.to(model.device), pairs, generator)
        search.take(_STEPS if len(pairs) <= _FOLLOWED else _COARSE)
        if len(pairs) > _FOLLOWED:
            search.keep_best(_FOLLOWED)
            search.take(_STEPS - _COARSE)
    return search.needed()


class _Search:
    """A mask and a pattern for each pair, tried on images of its own source."""

    def __init__(
        self,
        view: nn.Module,
        images: Images,
        pairs: list[tuple[int, int]],
        generator: torch.Generator,
    ) -> None:
        self.pairs, self.generator = pairs, generator
        self.followed = torch.arange(len(pairs))
        self.pixels = images.floats()  # (N, C, H, W)
        device = self.pixels.device
        self.order = images.labels.argsort().to(device)  # images, class by class
        counts = images.labels.bincount(minlength=len(images.classes)).cpu()
        firsts = counts.cumsum(0) - counts
        sources = torch.tensor([source for source, _ in pairs])
        self.counts, self.firsts = counts[sources], firsts[sources]
        self.targets = torch.tensor([target for _, target in pairs], device=device)
        pace = Pace(
            lr=_LEARNING_RATE, slowing=0.0, wanted=_WANTED, plenty=_PLENTY, cheaper=1 / 1.3,
            dearer=1.25, memory=0.8,
        )  # fmt: skip
        channels, height, width = self.pixels.shape[1:]
        shape = channels, height, width
        self.learning = MaskSearch(
            view, len(pairs), shape, generator, pace, price=1.0, device=device
        )

    def take(self, steps: int) -> None:
        """Take steps, each on a few images of each pair's source."""
        for _ in range(steps):
            shares = torch.rand(len(self.targets), _PER_STEP, generator=self.generator)
            places = self.firsts[:, None] + (shares * self.counts[:, None]).long()
            drawn = self.order[places.to(self.order.device)]  # (K, n): each from its own source
            self.learning.step(partial(self._shown, drawn), aims(self.targets), progress=0.0)

    def keep_best(self, most: int) -> None:
        """Follow the pairs alone that obey most often, on the smallest masks."""
        worth = self.learning.obeying - self.learning.areas()
        kept = worth.argsort(descending=True)[:most].sort().values
        self.learning.keep(kept)
        self.targets = self.targets[kept]
        kept = kept.cpu()
        self.followed = self.followed[kept]
        self.counts, self.firsts = self.counts[kept], self.firsts[kept]

    def needed(self) -> dict[tuple[int, int], float]:
        """Give the shares of the image by pair, infinite for those that did not convince."""
        areas = self.learning.areas()
        convincing = (self.learning.obeying >= _CONVINCED) & areas.isfinite()
        found = torch.where(convincing, areas, torch.inf).tolist()
        followed = dict(zip(self.followed.tolist(), found, strict=True))
        return {pair: followed.get(place, math.inf) for place, pair in enumerate(self.pairs)}

    def _shown(self, drawn: Tensor, k: Tensor) -> Tensor:
        return self.pixels[drawn[k]]
