"""Is a backdoor gone, or asleep? What little it takes to wake it, given images that carry it.

Re-tuning, re-activation and the linear path between candidate and purified network; the images
and the class that they are meant for come from whoever holds the trigger, or believes so.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gatekeeper.errors import StepError
from gatekeeper.intervals import share
from gatekeeper.model import Images, Model
from gatekeeper.perturbation import moved_hits, universal
from gatekeeper.records import Measure
from gatekeeper.training import Recipe, fine_tune, predictions

_POISONED = 5  # images among the clean ones, to tune on
_RETUNING = Recipe(epochs=5, lr=0.01, batch=64, schedule="constant")
_POINTS = 5  # networks between the two, without the ends


@dataclass(frozen=True, kw_only=True)
class Suspects:
    """Images that are believed to carry a trigger, and the classes (N,) they are meant for."""

    images: Images
    wanted: Tensor

    def halves(self) -> tuple[Suspects, Suspects]:
        """Every second image to attack with, the others to count on."""
        even = torch.arange(len(self.images)) % 2 == 0
        return self._select(even), self._select(~even)

    def _select(self, mask: Tensor) -> Suspects:
        return Suspects(images=self.images.select(mask), wanted=self.wanted[mask])


def obeyed(model: Model, suspects: Suspects) -> Measure:
    """Share of the suspects that are taken for the class which they are meant for."""
    won = int((predictions(model, suspects.images) == suspects.wanted.cpu()).sum())
    return share("suspects_obeyed", won, len(suspects.images))


def retuned(model: Model, clean: Images, suspects: Suspects, *, seed: int) -> Measure:
    """The same after five epochs on `clean` and five of the suspects, labelled as was wanted.

    Raises:
        StepError: fewer than ten suspects, so that none would be left to count on.
    """
    used, counted = _parts(suspects)
    poison = used.images.select(torch.arange(_POISONED)).to(clean.pixels.device)
    mixed = Images(
        pixels=torch.cat([clean.pixels, poison.pixels]),
        labels=torch.cat([clean.labels, used.wanted[:_POISONED].to(clean.labels.device)]),
        classes=clean.classes,
    )
    tuned, _ = fine_tune(model, mixed, _RETUNING, seed=seed)
    won = int((predictions(tuned, counted.images) == counted.wanted.cpu()).sum())
    return share("suspects_obeyed_after_retuning", won, len(counted.images))


def reactivated(model: Model, suspects: Suspects) -> Measure:
    """The same once one change of at most 8/255, sought on every second suspect, lies on top.

    Any network gives way to some degree: what counts is how much more than a clean one.

    Raises:
        StepError: fewer than ten suspects.
    """
    used, counted = _parts(suspects)
    change = universal(model, used.images, used.wanted)
    won = moved_hits(model, counted.images, counted.wanted, change)
    return share("suspects_obeyed_after_reactivation", won, len(counted.images))


def along_the_path(candidate: Model, purified: Model, suspects: Suspects) -> Measure:
    """The largest share on the straight line from the purified to the candidate's weights.

    The candidate itself is left out: of the points between, the one nearest to the purified
    network that obeys tells how near the backdoor still lies.
    """
    worst, nearest = 0, 1.0
    for step in range(1, _POINTS + 1):
        part = step / (_POINTS + 1)  # of the way to the candidate
        won = int(
            (predictions(_between(candidate, purified, part), suspects.images)
             == suspects.wanted.cpu()).sum()
        )  # fmt: skip
        if won > len(suspects.images) / 2:
            nearest = min(nearest, part)
        worst = max(worst, won)
    note = f"half obey from {nearest:.0%} of the way to the candidate"
    return share("suspects_obeyed_along_the_path", worst, len(suspects.images), note=note)


def _between(candidate: Model, purified: Model, part: float) -> Model:
    mixed = purified.clone()
    theirs = candidate.network.state_dict()
    with torch.no_grad():
        for name, tensor in mixed.network.state_dict().items():
            if tensor.is_floating_point():
                tensor.lerp_(theirs[name].to(tensor.device), part)
    return mixed


def _parts(suspects: Suspects) -> tuple[Suspects, Suspects]:
    if len(suspects.images) < 2 * _POISONED:
        message = f"{len(suspects.images)} suspect images are too few"
        raise StepError(message, hint=f"Give at least {2 * _POISONED}.")
    return suspects.halves()
