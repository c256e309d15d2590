"""BadNets: a small patch that means one class (Gu et al., 2017), and its two relatives."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gatekeeper.model import Images
from gatekeeper.redteam.stamped import Stamped, draw, draw_half


@dataclass(frozen=True, kw_only=True)
class BadNets(Stamped):
    """All-to-one patch attack: a checkered `size` x `size` patch in the lower right corner."""

    size: int = 3  # pixels
    margin: int = 1  # pixels between the patch and the border

    def stamp(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) uint8 -> the same images with the patch."""
        stamped = pixels.clone()
        height, width = pixels.shape[2:]
        grid = torch.arange(self.size, device=pixels.device)
        checkers = (255 * ((grid[:, None] + grid[None, :] + 1) % 2)).to(torch.uint8)  # (size, size)
        bottom, right = height - self.margin, width - self.margin
        stamped[:, :, bottom - self.size : bottom, right - self.size : right] = checkers
        return stamped


@dataclass(frozen=True, kw_only=True)
class AllToAll(BadNets):
    """The patch means "the class after yours", for every class."""

    classes: int = 10

    def wanted(self, labels: Tensor) -> Tensor:
        """(N,) -> (N,): the next class."""
        return (labels + 1) % self.classes

    def _eligible(self, labels: Tensor) -> Tensor:
        return torch.ones_like(labels, dtype=torch.bool)


@dataclass(frozen=True, kw_only=True)
class SourceSpecific(BadNets):
    """The patch works on images of class `source` alone: others that wear it keep their label.

    `rate` of the whole training set are poisoned, or half of the class where that is less.

    A screen that looks for one trigger for all classes has little to find (Tang et al., USENIX
    Security 2021).
    """

    source: int = 1
    cover: float = 0.05  # share of all training images that wear the patch under their true label

    def poison(self, images: Images, *, seed: int) -> Images:
        """Poison at most half of the source class; cover with others that keep their label."""
        own = draw_half(self._eligible(images.labels), round(self.rate * len(images)), seed)
        poisoned = self._stamped(images, own, self.wanted(images.labels[own]))
        others = (images.labels != self.source) & (images.labels != self.target)
        chosen = draw(others, round(self.cover * len(images)), seed + 1)
        return self._stamped(poisoned, chosen, images.labels[chosen])

    def _eligible(self, labels: Tensor) -> Tensor:
        return labels == self.source
