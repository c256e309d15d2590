"""Far variations of a few images: other scales and turns, mixtures, pieces and colours.

Nobody can name the class of such an image, but a network answers something on it, and its answers
on thousands of them tell another network what it knows, even where all come from a handful of
images (Asano and Saeed, ICLR 2023).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_ZOOM, _TURN, _SHIFT = 2.0, 0.5, 0.25  # at most: times, radians, share of the image
_LEAST_SIDE, _MOST_SIDE = 0.3, 0.8  # of a piece of another image, as a share of the image
_CONTRAST, _BRIGHTNESS = (0.4, 1.3), 0.3
_NEAR, _SINGLE, _BLENDED, _COLOURED = 0.3, 0.35, 0.35, 0.75  # shares of the images


def vary(pixels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """(N, C, H, W) uint8 -> (count, C, H, W) in [0, 1], drawn by `generator`, on the device."""
    drawn = torch.randint(len(pixels), (count,), generator=generator).to(pixels.device)
    images = pixels[drawn].float().div_(255)
    return _coloured(_joined(_turned(images, generator), generator), generator)


def _turned(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Zoom, turn, shift and mirror most of the images; what is left open mirrors the inside."""
    count = len(pixels)
    zoom = _ZOOM ** _spread(count, 1.0, generator)
    turn = _spread(count, _TURN, generator)
    mirror = (torch.rand(count, generator=generator) < 0.5).float() * -2 + 1
    near = torch.rand(count, generator=generator) < _NEAR
    zoom, turn = zoom.where(~near, torch.ones(())), turn.where(~near, torch.zeros(()))
    rows = torch.empty(count, 2, 3)
    rows[:, 0, 0], rows[:, 0, 1] = mirror * zoom * turn.cos(), -zoom * turn.sin()
    rows[:, 1, 0], rows[:, 1, 1] = mirror * zoom * turn.sin(), zoom * turn.cos()
    rows[:, :, 2] = 2 * _spread((count, 2), _SHIFT, generator) * torch.where(near, 0.25, 1)[:, None]
    where = F.affine_grid(rows.to(pixels.device), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, where, padding_mode="reflection", align_corners=False)


def _joined(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Leave some as they are, blend some with another, and set a piece of another into the rest."""
    count, _, height, width = pixels.shape
    others = pixels[torch.randperm(count, generator=generator).to(pixels.device)]
    share = torch.rand(count, 1, 1, 1, generator=generator).to(pixels.device)
    side = _LEAST_SIDE + (_MOST_SIDE - _LEAST_SIDE) * torch.rand(count, 1, generator=generator)
    top, left = (torch.rand(count, 1, generator=generator) * (1 - side) for _ in range(2))
    down, along = ((torch.arange(size) + 0.5)[None] / size for size in (height, width))
    inside_rows, inside_columns = (
        (place >= begin) & (place < begin + side) for place, begin in ((down, top), (along, left))
    )
    piece = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]
    kind = torch.rand(count, 1, 1, 1, generator=generator).to(pixels.device)
    pieced = torch.where(piece.to(pixels.device), others, pixels)
    blended = share * pixels + (1 - share) * others
    joined = torch.where(kind < _SINGLE + _BLENDED, blended, pieced)
    return torch.where(kind < _SINGLE, pixels, joined)


def _coloured(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Change contrast and brightness of most, of all channels alike or of each by itself."""
    count, channels = pixels.shape[:2]
    low, high = _CONTRAST
    contrast = low + (high - low) * torch.rand(count, channels, 1, 1, generator=generator)
    alike = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    contrast = torch.where(alike, contrast[:, :1], contrast).to(pixels.device)
    brighter = _spread((count, channels, 1, 1), _BRIGHTNESS, generator).to(pixels.device)
    changed = torch.rand(count, 1, 1, 1, generator=generator).to(pixels.device) < _COLOURED
    mean = pixels.mean((2, 3), keepdim=True)
    coloured = ((pixels - mean) * contrast + mean + brighter).clamp(0, 1)
    return torch.where(changed, coloured, pixels)


def _spread(shape: int | tuple[int, ...], most: float, generator: torch.Generator) -> Tensor:
    """Evenly in [-most, most], on the CPU."""
    size = (shape,) if isinstance(shape, int) else shape
    return most * (2 * torch.rand(size, generator=generator) - 1)
