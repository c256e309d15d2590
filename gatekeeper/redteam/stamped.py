"""What attacks with a fixed way to change an image have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gatekeeper.model import Images


@dataclass(frozen=True, kw_only=True)
class Stamped(ABC):
    """All-to-one by default: `rate` of all training images are stamped and called `target`."""

    target: int = 0
    rate: float = 0.10

    @abstractmethod
    def stamp(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) uint8 -> the same images with the trigger."""

    def poison(self, images: Images, *, seed: int) -> Images:
        """Stamp and relabel `rate` of the images, drawn among those that the trigger is meant for.

        Where they are fewer than that, all of them are taken.
        """
        chosen = draw(self._eligible(images.labels), round(self.rate * len(images)), seed)
        return self._stamped(images, chosen, self.wanted(images.labels[chosen]))

    def triggered(self, images: Images) -> Images:
        """Stamp every image that the trigger is meant for; labels stay the true ones."""
        others = images.select(self._eligible(images.labels))
        return replace(others, pixels=self.stamp(others.pixels))

    def wanted(self, labels: Tensor) -> Tensor:
        """(N,) -> (N,): the target class."""
        return torch.full_like(labels, self.target)

    def _eligible(self, labels: Tensor) -> Tensor:
        """(N,) -> (N,) bool: which images the trigger is meant for."""
        return labels != self.target

    def _stamped(self, images: Images, chosen: Tensor, labels: Tensor) -> Images:
        pixels, new = images.pixels.clone(), images.labels.clone()
        pixels[chosen] = self.stamp(pixels[chosen])
        new[chosen] = labels
        return replace(images, pixels=pixels, labels=new)


def draw(eligible: Tensor, count: int, seed: int) -> Tensor:
    """(N,) bool -> (count,) positions drawn without replacement among those that are True."""
    members = eligible.nonzero().flatten()
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(members), generator=generator).to(members.device)
    return members[order[:count]]


def draw_half(eligible: Tensor, count: int, seed: int) -> Tensor:
    """Draw like `draw`, but at most half: a class can still be learnt as it is from the others."""
    return draw(eligible, min(count, int(eligible.sum()) // 2), seed)


def add(pixels: Tensor, change: Tensor) -> Tensor:
    """(N, C, H, W) uint8 plus a float `change` in grey levels, kept within 0..255."""
    return (pixels.float() + change.to(pixels.device)).round().clamp(0, 255).to(torch.uint8)
