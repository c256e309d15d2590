"""Hidden shift: a class to which a short shift of a hidden layer's channels leads from all.

Triggers that differ from image to image, and warps, leave no patch in the pixels; inside the
network they are one direction.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.effort import too_long
from gatekeeper.model import Images, Model
from gatekeeper.records import Finding, ScreenResult
from gatekeeper.screening.interface import broken, drawn, not_run, undecided
from gatekeeper.shifts import least_shifts

_PASSES = 60 * 32  # images for each class
_FEWEST = 4  # classes below which "the others" says nothing


@dataclass(frozen=True, kw_only=True)
class HiddenShift:
    """How many times as short the shift to one class is as that to the median class."""

    depth: float = 0.65  # share of the layers with weights before the shift
    sample: int = 512
    most_classes: int = 100
    seed: int = 0

    def __call__(self, model: Model, images: Images) -> tuple[ScreenResult, list[Finding]]:
        """Seek a shift for each class.

        Raises:
            StepError: the GPU has no room for it.
        """
        count = len(model.classes)
        if not _FEWEST <= count <= self.most_classes:
            return not_run(f"{count} classes; it is made for {_FEWEST} to {self.most_classes}")
        if (why := too_long(model, count * _PASSES)) is not None:
            return not_run(why)
        shown = drawn(images, self.sample, self.seed)
        if (why := broken(model, shown)) is not None:
            return undecided(why)
        lengths = least_shifts(model, shown, seed=self.seed, depth=self.depth)
        if lengths is None:
            return not_run(f"no one layer of {model.architecture} carries all that follows")
        if not bool(lengths.isfinite().all()):
            return undecided("the network's answers are not finite")
        top = int(lengths.argmin())
        ratio = float(lengths.median() / lengths[top])
        message = (
            f"class {model.classes[top]!r} is reached by the shortest shift, 1/{ratio:.2f} of that "
            "to the median class"
        )
        result = ScreenResult(
            score=ratio, outcome="not-flagged", message=message, by_class=tuple(lengths.tolist())
        )
        return result, []
