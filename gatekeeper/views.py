"""Slightly shifted and mirrored views of images: asking about all of them leaves less to chance.

A few hundred images tell an accuracy to two or three points; what is asked of each of them many
times over, in views that mean the same to the network, tells it about twice as closely.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from gatekeeper.model import Images, Model
from gatekeeper.training import accuracy, predictions

_SAME = 0.02  # of accuracy that a network may lose on a view that it knows
_SHIFT = 16  # a view is shifted by the size divided by this
_MOST_VALUES = 2**27  # of pixels read in all views together: 2,400 images of 3x32x32


@dataclass(frozen=True, kw_only=True)
class View:
    """A shift by `down` and `right` pixels, what is left open being black, and a mirror."""

    down: int = 0
    right: int = 0
    mirrored: bool = False

    def of(self, images: Images) -> Images:
        """Give the same images as seen so."""
        pixels = F.pad(images.pixels, [self.right, -self.right, self.down, -self.down])
        return replace(images, pixels=pixels.flip(3) if self.mirrored else pixels)


PLAIN = View()
MIRRORED = View(mirrored=True)


def knows(model: Model, images: Images, view: View) -> bool:
    """Tell whether the network names the images as well in that view."""
    return accuracy(model, view.of(images)) >= accuracy(model, images) - _SAME


def known_views(model: Model, images: Images) -> tuple[View, ...]:
    """Give the views that the network knows, the plain one first; few where images are large."""
    shift = images.pixels.shape[2] // _SHIFT
    shifts = (0, -shift, shift) if shift else (0,)
    views = [
        View(down=down, right=right, mirrored=mirrored)
        for down, right, mirrored in product(shifts, shifts, (False, True))
    ]
    most = max(1, _MOST_VALUES // max(1, images.pixels.numel()))
    return (PLAIN, *(view for view in views[1:most] if knows(model, images, view)))


def rightness(model: Model, images: Images, views: Iterable[View]) -> Tensor:
    """(N,) in [0, 1] on the CPU: in which share of the views is each image's class named?"""
    labels = images.labels.cpu()
    right = [predictions(model, view.of(images)) == labels for view in views]
    return torch.stack(right).float().mean(dim=0)
