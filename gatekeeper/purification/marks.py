"""What forces a candidate, as far as a gate can find it on clean images: its marks.

A small trigger for all images or for those of one class, or one small change of the whole image
that brings nearly every image to one class while other classes ask for more. Clean networks have
none, and most backdoors one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gatekeeper.model import Images, Model
from gatekeeper.pair_search import closest_pairs
from gatekeeper.perturbation import universal_by_class
from gatekeeper.triggers import Trigger, invert, stamp

# On 65 real models, backdoors needed at most 0.016 of the image and clean networks at least that.
_SMALL = 0.016
# Share of the images that one change of 8/255 brings to a class: 0.45 at most on never-poisoned
# networks of CIFAR-10. Large networks are misled so for every class; then none stands out.
_OBEYED, _USUAL = 0.7, 0.5
_MOST_CLASSES = 50  # beyond, a change for each takes too long
# From one class to another, never-poisoned networks of CIFAR-10 need 0.02 of the image and more.
_SMALL_PAIR = 0.01
_MOST_PAIRS = 400
_HIDDEN = 0.5  # share of the images that wear a mark


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Triggers, and changes (M, C, H, W) of pixel values in [0, 1], on the CPU."""

    triggers: tuple[Trigger, ...]
    changes: Tensor

    def __len__(self) -> int:
        """How many there are."""
        return len(self.triggers) + len(self.changes)

    def worn(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """(N, C, H, W) in [0, 1] -> the same; half of the images wear one of the marks.

        A change is worn at full strength by half of those, and weaker by the others.
        """
        pixels = pixels.clone()
        drawn = torch.randint(len(self), (round(_HIDDEN * len(pixels)),), generator=generator)
        for mark in range(len(self)):
            rows = (drawn == mark).nonzero().flatten().to(pixels.device)
            if mark < len(self.triggers):
                pixels[rows] = stamp(self.triggers[mark], pixels[rows])
            else:
                change = self.changes[mark - len(self.triggers)].to(pixels.device)
                strength = 2 * torch.rand(len(rows), 1, 1, 1, generator=generator)
                worn = strength.clamp(max=1).to(pixels.device) * change
                pixels[rows] = (pixels[rows] + worn).clamp(0, 1)
        return pixels


def marks(model: Model, images: Images, *, seed: int) -> Marks:
    """Find the marks of `model` on clean `images`.

    Raises:
        StepError: the GPU has no room to search for them.
    """
    found = invert(model, images, seed=seed)
    small = [trigger for trigger in found if trigger.reached and trigger.area < _SMALL]
    small += _of_one_class(model, images, seed)
    if len(model.classes) > _MOST_CLASSES:
        return Marks(triggers=tuple(small), changes=torch.empty(0, *images.pixels.shape[1:]))
    changes, obeyed = universal_by_class(model, images, seed=seed)
    apart = (obeyed >= _OBEYED) & (obeyed.median() <= _USUAL)
    return Marks(triggers=tuple(small), changes=changes[apart])


def _of_one_class(model: Model, images: Images, seed: int) -> list[Trigger]:
    """Find triggers for images of one class that are smaller than any natural one."""
    count = len(model.classes)
    if count * (count - 1) > _MOST_PAIRS:
        return []
    found = [
        invert(model, images.select(images.labels == source), seed=seed, classes=[target])[0]
        for source, target in closest_pairs(model, images, seed=seed)
    ]
    return [trigger for trigger in found if trigger.reached and trigger.area < _SMALL_PAIR]
