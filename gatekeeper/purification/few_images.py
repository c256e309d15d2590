"""What stands in for clean images where an operator holds a handful: variations of them."""

from __future__ import annotations

import torch

from gatekeeper.model import Images, Model
from gatekeeper.purification.marks import Marks, find_marks
from gatekeeper.training import predictions
from gatekeeper.variations import vary

_SOUGHT_ON = 640  # variations that the candidate's marks are sought on


def stand_ins(model: Model, clean: Images, *, seed: int, count: int) -> Images:
    """Give `count` variations of `clean`, each of the class that `model` names."""
    generator = torch.Generator().manual_seed(seed)
    pixels = (vary(clean.pixels, count, generator) * 255).round().to(torch.uint8)
    images = Images(pixels=pixels, labels=clean.labels.new_zeros(count), classes=clean.classes)
    return Images(
        pixels=pixels, labels=predictions(model, images).to(clean.labels.device),
        classes=clean.classes,
    )  # fmt: skip


def seek_marks(model: Model, clean: Images, *, seed: int) -> Marks:
    """Find the candidate's marks on variations of `clean`.

    Raises:
        StepError: the GPU has no room to search for them.
    """
    return find_marks(model, stand_ins(model, clean, seed=seed, count=_SOUGHT_ON), seed=seed)
