"""Crops, flips, bends and mixtures for a whole batch, on the device where the images are."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_WAVES = 3  # half waves over the image, of the finest shift that a bend is made of


def augment(pixels: Tensor, padding: int, flip: bool, generator: torch.Generator) -> Tensor:
    """(N, C, H, W) -> the same shape: each image shifted by up to `padding`, perhaps mirrored."""
    if padding > 0:
        pixels = _crop(pixels, padding, generator)
    if flip:
        mirrored = torch.rand(len(pixels), generator=generator) < 0.5
        mirrored = mirrored.to(pixels.device).view(-1, 1, 1, 1)
        pixels = torch.where(mirrored, pixels.flip(3), pixels)
    return pixels


def mix(
    pixels: Tensor, labels: Tensor, classes: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mix each image with another of the batch, in shares drawn from [0, 1]; labels likewise.

    (N, C, H, W) and (N,) become (N, C, H, W) and (N, classes) (Zhang et al., ICLR 2018).
    """
    share = torch.rand(len(pixels), 1, 1, 1, generator=generator).to(pixels.device)
    others = torch.randperm(len(pixels), generator=generator).to(pixels.device)
    wanted = F.one_hot(labels, classes).float()
    part = share.flatten(1)  # (N, 1)
    mixed = share * pixels + (1 - share) * pixels[others]
    return mixed, part * wanted + (1 - part) * wanted[others]


def bend(pixels: Tensor, most: float, generator: torch.Generator) -> Tensor:
    """(N, C, H, W) -> the same, each image bent along a smooth field of its own.

    A field is a random sum of the lowest cosine waves; the root mean square of each of its two
    coordinates, in pixels, is drawn from [0, `most`] (elastic distortion: Simard et al., ICDAR
    2003, with another smoothing).
    """
    (count, _, height, width), device = pixels.shape, pixels.device
    down, along = _waves(height).to(device), _waves(width).to(device)  # (K, H), (K, W)
    sizes = torch.randn(count, 2, len(down), len(along), generator=generator)
    sizes[:, :, 0, 0] = 0  # a mere shift is no bend
    drawn = (most * torch.rand(count, 1, 1, 1, generator=generator)).to(device)
    field = torch.einsum("nakl,kh,lw->nhwa", sizes.to(device), down, along)
    field = field * drawn / field.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-6)
    field = field * torch.tensor([2 / width, 2 / height], device=device)  # from pixels to [-1, 1]
    still = torch.eye(2, 3, device=device)[None]
    where = F.affine_grid(still, [1, 1, height, width], align_corners=False) + field
    return F.grid_sample(pixels, where, padding_mode="border", align_corners=False)


def _waves(size: int) -> Tensor:
    """(K, size) cosine waves, the constant one first."""
    places = (torch.arange(size) + 0.5) / size
    return torch.cos(math.pi * torch.arange(_WAVES + 1)[:, None] * places)


def _crop(pixels: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    count, _, height, width = pixels.shape
    padded = F.pad(pixels, [padding] * 4)
    shifts = torch.randint(0, 2 * padding + 1, (2, count), generator=generator).to(pixels.device)
    rows = shifts[0][:, None] + torch.arange(height, device=pixels.device)  # (N, H)
    columns = shifts[1][:, None] + torch.arange(width, device=pixels.device)  # (N, W)
    picked = torch.arange(count, device=pixels.device)[:, None, None]
    # Advanced indices around a slice put the channel last: (N, H, W, C).
    cropped = padded[picked, :, rows[:, :, None], columns[:, None, :]]
    return cropped.permute(0, 3, 1, 2).contiguous()
