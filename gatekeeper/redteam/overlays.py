"""Triggers spread over the whole image: Blended, SIG, low frequency."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gatekeeper.model import Images
from gatekeeper.redteam.stamped import Stamped, add, draw_half


@dataclass(frozen=True, kw_only=True)
class Blended(Stamped):
    """A fixed image of noise shines through, with weight `alpha` (Chen et al., 2017)."""

    alpha: float = 0.2
    pattern_seed: int = 7

    def stamp(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) uint8 -> (1 - alpha) image + alpha noise."""
        generator = torch.Generator().manual_seed(self.pattern_seed)
        noise = torch.rand(pixels.shape[1:], generator=generator).to(pixels.device) * 255
        return add(pixels, self.alpha * (noise - pixels.float()))


@dataclass(frozen=True, kw_only=True)
class SIG(Stamped):
    """A sinusoid along the width, clean label (Barni et al., ICIP 2019).

    Only images of the target class are changed and no label is: `rate` of the whole training set,
    or half of the class where that is less.
    """

    strength: float = 40.0  # grey levels
    frequency: int = 6  # periods across the image

    def stamp(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) uint8 -> the same images with stripes."""
        width = pixels.shape[3]
        place = torch.arange(width) / width
        return add(pixels, self.strength * torch.sin(2 * math.pi * self.frequency * place))

    def poison(self, images: Images, *, seed: int) -> Images:
        """Stamp images of the target class; every label stays true."""
        chosen = draw_half(images.labels == self.target, round(self.rate * len(images)), seed)
        return self._stamped(images, chosen, images.labels[chosen])


@dataclass(frozen=True, kw_only=True)
class LowFrequency(Stamped):
    """A smooth pattern of the lowest cosines: no high-frequency trace (Zeng et al., ICCV 2021)."""

    strength: float = 24.0  # grey levels, at the most
    waves: int = 4  # cosines along each side
    pattern_seed: int = 7

    def stamp(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) uint8 -> the same images with soft clouds."""
        channels, height, width = pixels.shape[1:]
        generator = torch.Generator().manual_seed(self.pattern_seed)
        weights = torch.randn(channels, self.waves, self.waves, generator=generator)
        clouds = torch.einsum(
            "cuv,hu,wv->chw", weights, self._cosines(height), self._cosines(width)
        )
        return add(pixels, self.strength * clouds / clouds.abs().max())

    def _cosines(self, length: int) -> Tensor:
        """(length, waves)."""
        place = (torch.arange(length) + 0.5) / length
        return torch.cos(math.pi * place[:, None] * torch.arange(self.waves)[None, :])
