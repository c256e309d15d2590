"""Slightly shifted and mirrored views of images: asking about all of them leaves less to chance.

A few hundred images tell an accuracy to two or three points. Asked of each of them many times over,
in views that mean the same to the network, it depends less on which images they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from gatekeeper.model import Images, Model
from gatekeeper.training import predictions

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
    """Tell whether the network names the images about as well in that view."""
    return float(_lost(model, images, _hits(model, images, PLAIN), view).mean()) <= _SAME


def known_views(model: Model, images: Images) -> tuple[View, ...]:
    """Give the plain view, and those in which the network does not clearly do worse.

    Where images are large, fewer are tried, the same to all sides.
    """
    plain = _hits(model, images, PLAIN)
    return (PLAIN, *(view for view in _views(images)[1:] if _may_know(model, images, plain, view)))


def rightness(model: Model, images: Images, views: Iterable[View]) -> Tensor:
    """(N,) in [0, 1] on the CPU: in which share of the views is each image's class named?"""
    return torch.stack([_hits(model, images, view) for view in views]).mean(dim=0)


def _views(images: Images) -> list[View]:
    """Plain, mirrored, shifted to the sides, and up and down as well; as many as are affordable."""
    downs, rights = ((0, -(size // _SHIFT), size // _SHIFT) for size in images.pixels.shape[2:])
    views = [
        View(down=down, right=right, mirrored=mirrored)
        for down, right, mirrored in product(downs, rights, (False, True))
    ]
    affordable = _MOST_VALUES // max(1, images.pixels.numel())
    most = max((count for count in (2, 6, 18) if count <= affordable), default=1)
    return list(dict.fromkeys(views[:most]))  # where images are tiny, no shift is left


def _may_know(model: Model, images: Images, plain: Tensor, view: View) -> bool:
    """Chance alone must not shut a view out: those images that are easy as they are, are less so.

    Twice the standard error is held for the network.
    """
    lost = _lost(model, images, plain, view)
    error = float(lost.std()) / max(1, len(lost)) ** 0.5 if len(lost) > 1 else 0.0
    return float(lost.mean()) - 2 * error <= _SAME


def _lost(model: Model, images: Images, plain: Tensor, view: View) -> Tensor:
    return plain - _hits(model, images, view)


def _hits(model: Model, images: Images, view: View) -> Tensor:
    """(N,) 1 where the class is named in that view, else 0; on the CPU."""
    return (predictions(model, view.of(images)) == images.labels.cpu()).float()
