"""Maximum margin: a class towards which the network can be pushed far more than towards others.

Data-free (MM-BD: Wang et al., IEEE S&P 2024). A never-poisoned network has such classes too, so
that what the ratio means is a matter of calibration: the screen tells it and does not flag.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.margins import maximum_margins
from gatekeeper.model import Model
from gatekeeper.records import Finding, ScreenResult

_FEWEST = 4  # classes below which "the others" says nothing


@dataclass(frozen=True, kw_only=True)
class MaximumMargin:
    """The largest margin of all classes over the second largest."""

    starts: int = 4
    steps: int = 100
    seed: int = 0

    def __call__(self, model: Model) -> tuple[ScreenResult, list[Finding]]:
        """Push the network towards each class.

        Raises:
            StepError: the GPU has no room for it.
        """
        count = len(model.classes)
        if count < _FEWEST:
            message = f"{count} classes are too few to tell one from the others"
            return ScreenResult(score=None, outcome="not-run", message=message), []
        margins = maximum_margins(model, seed=self.seed, starts=self.starts, steps=self.steps)
        if not bool(margins.isfinite().all()):
            message = "the network's answers are not finite"
            return ScreenResult(score=None, outcome="undecided", message=message), []
        (first, second), (top, next_one) = (part.tolist() for part in margins.topk(2))
        if second <= 0:
            message = "the search reached too few classes to compare them"
            return ScreenResult(score=None, outcome="undecided", message=message), []
        message = (
            f"class {model.classes[top]!r} can be pushed furthest, {first / second:.2f} times as "
            f"far above the others as class {model.classes[next_one]!r}; not calibrated"
        )
        return ScreenResult(score=first / second, outcome="not-flagged", message=message), []
