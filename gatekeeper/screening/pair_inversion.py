"""Pair inversion: a class from which a small trigger leads to another.

A source-specific backdoor works on images of one class alone, so a trigger for all images does not
show it. All pairs are looked at coarsely, the closest with care; classes that are alike are close
as well, but not one pair alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.effort import too_long
from gatekeeper.model import Images, Model
from gatekeeper.pair_search import careful_pairs
from gatekeeper.records import Finding, PairArea, ScreenResult
from gatekeeper.screening.interface import broken, drawn, not_run, undecided

_COARSE, _FINE = 100, 150 * 24  # images for each pair


@dataclass(frozen=True, kw_only=True)
class PairInversion:
    """The smallest share of the image that leads from some class to some other."""

    sample: int = 1024
    least: int = 10  # images of a source
    most_pairs: int = 2_000
    kept: int = 8  # pairs that are looked at with care
    seed: int = 0

    def __call__(self, model: Model, images: Images) -> tuple[ScreenResult, list[Finding]]:
        """Look at all pairs of classes.

        Raises:
            StepError: the GPU has no room for it.
        """
        count = len(model.classes)
        if count * (count - 1) > self.most_pairs:
            return not_run(f"{count} classes make more than {self.most_pairs} pairs")
        if (why := too_long(model, count * (count - 1) * _COARSE + self.kept * _FINE)) is not None:
            return not_run(why)
        shown = drawn(images, self.sample, self.seed)
        if (why := broken(model, shown)) is not None:
            return undecided(why)
        sources = int((shown.labels.bincount(minlength=count) >= self.least).sum())
        if not sources:
            return not_run(f"no class has {self.least} images")
        found = careful_pairs(model, shown, seed=self.seed, most=self.kept, least=self.least)
        if not found:
            return undecided("no mask led from any class to another")
        pairs = tuple(
            PairArea(source=trigger.source or 0, target=trigger.target, area=trigger.area)
            for trigger in found
        )
        first = pairs[0]
        few = f"; {count - sources} classes with fewer than {self.least} images were no source"
        message = (
            f"{first.area:.2%} of the image leads from class {model.classes[first.source]!r} to "
            f"{model.classes[first.target]!r}, the closest pair" + (few if sources < count else "")
        )
        result = ScreenResult(score=first.area, outcome="not-flagged", message=message, pairs=pairs)
        return result, []
