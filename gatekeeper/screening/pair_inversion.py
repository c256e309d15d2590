"""Pair inversion: a class from which a small trigger leads to another.

A source-specific backdoor works on images of one class alone, so a trigger for all images does not
show it. Which change is small depends on how alike two classes are: see `assessing.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gatekeeper.model import Images, Model
from gatekeeper.pair_search import pair_areas
from gatekeeper.records import Finding, PairArea, ScreenResult
from gatekeeper.screening.interface import not_run, undecided
from gatekeeper.screening.universal_perturbation import drawn


@dataclass(frozen=True, kw_only=True)
class PairInversion:
    """The smallest share of the image that leads from some class to some other."""

    sample: int = 512
    most_pairs: int = 2_000
    kept: int = 400  # pairs, in the record
    seed: int = 0

    def __call__(self, model: Model, images: Images) -> tuple[ScreenResult, list[Finding]]:
        """Look at all pairs of classes.

        Raises:
            StepError: the GPU has no room for it.
        """
        count = len(model.classes)
        if count * (count - 1) > self.most_pairs:
            return not_run(f"{count} classes make more than {self.most_pairs} pairs")
        needed = pair_areas(model, drawn(images, self.sample, self.seed), seed=self.seed)
        order = sorted((area, pair) for pair, area in needed.items() if math.isfinite(area))
        if not order:
            return undecided("no mask led from any class to another")
        pairs = tuple(
            PairArea(source=source, target=target, area=area)
            for area, (source, target) in order[: self.kept]
        )
        first = pairs[0]
        message = (
            f"{first.area:.2%} of the image leads from class {model.classes[first.source]!r} to "
            f"{model.classes[first.target]!r}, the closest of {len(needed)} pairs"
        )
        result = ScreenResult(score=first.area, outcome="not-flagged", message=message, pairs=pairs)
        return result, []
