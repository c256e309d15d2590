"""Divides clean images by class, once, so that the parts never meet."""

from __future__ import annotations

import torch
from torch import Tensor

from gatekeeper.model import Images


def without(images: Images, others: Images) -> Images:
    """Leave out the images whose pixels are also among `others`."""
    known = {pixels.numpy().tobytes() for pixels in others.pixels}
    fresh = [pixels.numpy().tobytes() not in known for pixels in images.pixels]
    return images.select(torch.tensor(fresh, dtype=torch.bool))


def split(images: Images, *, seed: int, first: float = 0.4) -> tuple[Images, Images]:
    """Split each class by chance: the share `first`, and the rest; both get one where they can."""
    generator = torch.Generator().manual_seed(seed)
    left: list[Tensor] = []
    right: list[Tensor] = []
    for label in range(len(images.classes)):
        members = (images.labels == label).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        cut = round(first * len(members))
        if len(members) >= 2:
            cut = min(max(cut, 1), len(members) - 1)
        left.append(members[:cut])
        right.append(members[cut:])
    return images.select(torch.cat(left)), images.select(torch.cat(right))
