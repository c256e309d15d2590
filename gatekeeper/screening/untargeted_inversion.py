"""Untargeted inversion: one small trigger that makes images of every class leave it.

An all-to-all backdoor makes no class easy to reach, but all of them easy to leave.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.effort import too_long
from gatekeeper.model import Images, Model
from gatekeeper.records import Finding, ScreenResult
from gatekeeper.screening.interface import broken, not_run, undecided
from gatekeeper.untargeted import divert

# Where no mask makes nine of ten images leave, so many are asked for. All-to-all backdoors of the
# zoo need 0.01 to 0.027 of the image for nine of ten; what moves fewer and is larger is none.
_FEWER, _TOO_LARGE = 0.75, 0.05
_PASSES = 6 * 150 * 24  # images for all starts


@dataclass(frozen=True, kw_only=True)
class UntargetedInversion:
    """The share of the image under which nine of ten images leave their class."""

    seed: int = 0

    def __call__(self, model: Model, images: Images) -> tuple[ScreenResult, list[Finding]]:
        """Seek one trigger for all classes.

        Raises:
            StepError: the GPU has no room for it.
        """
        if (why := too_long(model, _PASSES)) is not None:
            return not_run(why)
        if (why := broken(model, images)) is not None:
            return undecided(why)
        found = divert(model, images, seed=self.seed)
        if not found.reached:
            return self._by_fewer(model, images)
        places = {place for place in found.destinations if place is not None}
        message = (
            f"{found.area:.2%} of the image makes {found.success:.0%} of the images leave their "
            f"class, for {len(places)} others"
        )
        result = ScreenResult(
            score=found.area, outcome="not-flagged", message=message,
            destinations=found.destinations,
        )  # fmt: skip
        return result, []

    def _by_fewer(self, model: Model, images: Images) -> tuple[ScreenResult, list[Finding]]:
        """Tell a network that resists from one on which the search went astray."""
        found = divert(model, images, seed=self.seed, success=_FEWER)
        if not found.reached or found.area < _TOO_LARGE:
            return undecided("no mask made enough images leave their class")
        message = (
            f"no mask makes nine of ten images leave their class, and {found.success:.0%} of them "
            f"ask for {found.area:.2%} of the image, more than a trigger for all classes does"
        )
        return ScreenResult(score=None, outcome="not-flagged", message=message), []
