"""What forces a candidate, as far as a gate can find it on clean images: its marks.

A small trigger for all images or for those of one class, or one small change of the whole image
that brings most images to one class while other classes ask for more. Nothing here decides what a
network is; a mark that a clean network happens to have costs a little accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gatekeeper.errors import StepError
from gatekeeper.inversion import invert, untried
from gatekeeper.model import Images, Model
from gatekeeper.pair_search import closest_pairs
from gatekeeper.perturbation import universal_by_class
from gatekeeper.triggers import Trigger, stamp

# Share of the image; 29 real single-target backdoors needed at most this, 36 clean networks more
# or as much.
_SMALL = 0.016
# From one class to another a never-poisoned network of CIFAR-10 needs 0.024 of the image and more,
# one of handwriting 0.012; on a few images any does with less.
_SMALL_PAIR = 0.01
_LEAST_IMAGES = 20  # of the source
_MOST_PAIRS = 400
# Share of the images that one change of 8/255 brings to a class: 0.45 at most on a never-poisoned
# network of CIFAR-10. Large networks are misled so for every class; then none stands out.
_OBEYED, _USUAL = 0.7, 0.5
_LEAST_CLASSES, _MOST_CLASSES = 4, 50  # for a median that means something; for the time it takes
_SAMPLE = 512  # images that pairs and changes are sought on
_WORN = 0.5  # share of the images that wear a mark


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Triggers, and changes (M, C, H, W) of pixel values in [0, 1], on the CPU."""

    triggers: tuple[Trigger, ...]
    changes: Tensor

    def __len__(self) -> int:
        """How many there are."""
        return len(self.triggers) + len(self.changes)

    def worn(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """(N, C, H, W) in [0, 1] -> the same; half of the images wear one of the marks, if any.

        A change is worn at full strength by half of those, and weaker by the others.
        """
        if not len(self):
            return pixels
        pixels = pixels.clone()
        drawn = torch.randint(len(self), (round(_WORN * len(pixels)),), generator=generator)
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


def find_marks(model: Model, images: Images, *, seed: int) -> Marks:
    """Find the marks of `model` on clean `images`.

    Raises:
        StepError: the GPU has no room to search for them.
    """
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    sample = images.select(order[:_SAMPLE].to(images.pixels.device))
    found: list[Trigger] = []
    if untried(model) is None:
        found = [t for t in invert(model, images, seed=seed) if t.reached and t.area < _SMALL]
    try:
        found += _of_one_class(model, images, sample, seed)
        changes = _changes(model, sample, seed)
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        message = "the GPU has no room to search for what forces the candidate"
        raise StepError(message, hint="Use a GPU with more memory, or --device cpu.") from None
    return Marks(triggers=tuple(found), changes=changes)


def _of_one_class(model: Model, images: Images, sample: Images, seed: int) -> list[Trigger]:
    """Find triggers for images of one class that are smaller than natural ones."""
    count = len(model.classes)
    if count * (count - 1) > _MOST_PAIRS:
        return []
    members = images.labels.bincount(minlength=count)
    found = [
        invert(model, images.select(images.labels == source), seed=seed, classes=[target])[0]
        for source, target in closest_pairs(model, sample, seed=seed)
        if members[source] >= _LEAST_IMAGES
    ]
    return [trigger for trigger in found if trigger.reached and trigger.area < _SMALL_PAIR]


def _changes(model: Model, sample: Images, seed: int) -> Tensor:
    """Find the changes (M, C, H, W) towards classes that are far easier to reach than others."""
    if not _LEAST_CLASSES <= len(model.classes) <= _MOST_CLASSES:
        return torch.empty(0, *sample.pixels.shape[1:])
    changes, obeyed = universal_by_class(model, sample, seed=seed)
    return changes[(obeyed >= _OBEYED) & (obeyed.median() <= _USUAL)]
