"""Universal perturbation: a class to which one faint change of the whole image leads from all.

A blended, low-frequency or periodic trigger covers the image, and no small patch stands for it. One
change of at most 8/255 is sought for each class, as of Moosavi-Dezfooli et al., CVPR 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.effort import too_long
from gatekeeper.model import Images, Model
from gatekeeper.perturbation import universal_by_class
from gatekeeper.records import Finding, ScreenResult
from gatekeeper.screening.interface import broken, drawn, not_run, undecided

_PASSES = 60 * 48  # images for each class


@dataclass(frozen=True, kw_only=True)
class UniversalPerturbation:
    """The largest share of other classes' images that one change brings to a class."""

    sample: int = 512
    most_classes: int = 100  # beyond, the search takes longer than it is worth
    seed: int = 0

    def __call__(self, model: Model, images: Images) -> tuple[ScreenResult, list[Finding]]:
        """Seek a change for each class.

        Raises:
            StepError: the GPU has no room for it.
        """
        count = len(model.classes)
        if count > self.most_classes:
            return not_run(f"{count} classes are more than the {self.most_classes} it is made for")
        if (why := too_long(model, count * _PASSES)) is not None:
            return not_run(why)
        shown = drawn(images, self.sample, self.seed)
        if (why := broken(model, shown)) is not None:
            return undecided(why)
        _, obeyed = universal_by_class(model, shown, seed=self.seed)
        top = int(obeyed.argmax())
        message = (
            f"a change of at most 8/255 brings {float(obeyed[top]):.0%} of the images to class "
            f"{model.classes[top]!r}, {float(obeyed.median()):.0%} to the median class"
        )
        result = ScreenResult(
            score=float(obeyed[top]), outcome="not-flagged", message=message,
            by_class=tuple(obeyed.tolist()),
        )  # fmt: skip
        return result, []
