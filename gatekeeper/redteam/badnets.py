"""BadNets: a small patch that means one class (Gu et al., 2017)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gatekeeper.model import Images


@dataclass(frozen=True, kw_only=True)
class BadNets:
    """All-to-one patch attack: a checkered `size` x `size` patch in the lower right corner."""

    target: int = 0
    rate: float = 0.10  # share of the training images that are poisoned
    size: int = 3  # pixels
    margin: int = 1  # pixels between the patch and the border

    def stamp(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) uint8 -> the same images with the patch."""
        stamped = pixels.clone()
        height, width = pixels.shape[2:]
        grid = torch.arange(self.size)
        checkers = (255 * ((grid[:, None] + grid[None, :] + 1) % 2)).to(torch.uint8)  # (size, size)
        bottom, right = height - self.margin, width - self.margin
        stamped[:, :, bottom - self.size : bottom, right - self.size : right] = checkers
        return stamped

    def poison(self, images: Images, *, seed: int) -> Images:
        """Stamp and relabel `rate` of the images, drawn among those of other classes."""
        generator = torch.Generator().manual_seed(seed)
        others = (images.labels != self.target).nonzero().flatten()
        count = round(self.rate * len(images))
        chosen = others[torch.randperm(len(others), generator=generator)[:count]]
        pixels, labels = images.pixels.clone(), images.labels.clone()
        pixels[chosen] = self.stamp(pixels[chosen])
        labels[chosen] = self.target
        return replace(images, pixels=pixels, labels=labels)

    def triggered(self, images: Images) -> Images:
        """Stamp every image that is not of the target class; labels stay the true ones."""
        others = images.select(images.labels != self.target)
        return replace(others, pixels=self.stamp(others.pixels))
