"""WaNet: a smooth warp of the image is the trigger (Nguyen and Tran, ICLR 2021)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from gatekeeper.model import Images
from gatekeeper.redteam.stamped import Stamped, draw


@dataclass(frozen=True, kw_only=True)
class WaNet(Stamped):
    """A fixed field of `grid` x `grid` random shifts bends every image by up to some pixels.

    In noise mode, `cross` times as many images as are poisoned are bent by other fields under
    their true label, so that the network learns this very warp.
    """

    grid: int = 4
    strength: float = 0.75
    cross: float = 2.0
    field_seed: int = 7

    def stamp(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) uint8 -> the same images, warped."""
        return _warp(pixels, self._field(pixels.shape[2:]).expand(len(pixels), -1, -1, -1))

    def poison(self, images: Images, *, seed: int) -> Images:
        """Warp and relabel; then warp others by other fields and leave their labels."""
        poisoned = super().poison(images, seed=seed)
        untouched = (poisoned.pixels == images.pixels).flatten(1).all(1)
        count = round(self.cross * self.rate * len(images))
        chosen = draw(untouched, count, seed + 1)
        generator = torch.Generator().manual_seed(seed + 2)
        height, width = images.pixels.shape[2:]
        noise = torch.rand(len(chosen), height, width, 2, generator=generator) * 2 - 1
        shifts = noise / torch.tensor([width, height]).float()
        field = (self._field((height, width)) + shifts.to(images.pixels.device)).clamp(-1, 1)
        pixels = poisoned.pixels.clone()
        pixels[chosen] = _warp(pixels[chosen], field)
        return replace(poisoned, pixels=pixels)

    def _field(self, size: tuple[int, ...] | torch.Size) -> Tensor:
        """(1, H, W, 2) sampling positions in [-1, 1]."""
        height, width = size
        generator = torch.Generator().manual_seed(self.field_seed)
        shifts = torch.rand(1, 2, self.grid, self.grid, generator=generator) * 2 - 1
        shifts = shifts / shifts.abs().mean()
        smooth = F.interpolate(shifts, size=(height, width), mode="bicubic", align_corners=True)
        rows, columns = torch.linspace(-1, 1, height), torch.linspace(-1, 1, width)
        still = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1)
        bent = still + self.strength * smooth[0].permute(1, 2, 0) / height
        return bent.clamp(-1, 1).unsqueeze(0)


def _warp(pixels: Tensor, field: Tensor) -> Tensor:
    bent = F.grid_sample(pixels.float(), field.to(pixels.device), align_corners=True)
    return bent.round().clamp(0, 255).to(torch.uint8)
