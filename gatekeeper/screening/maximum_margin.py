"""Maximum margin: a class towards which the network can be pushed far more than towards others.

Data-free, after MM-BD (Wang et al., IEEE S&P 2024). The paper fits a distribution to the margins of
the other classes and asks how likely the largest is; here it is told how many times as large it is
as the second. Never-poisoned networks have such classes too: what the ratio means is a matter of
calibration, so the screen tells it and does not flag.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.effort import too_long
from gatekeeper.margins import has_logits, maximum_margins
from gatekeeper.model import Model
from gatekeeper.records import Finding, ScreenResult
from gatekeeper.screening.interface import not_run, undecided

_FEWEST = 4  # classes below which "the others" says nothing
_LEAST = 1e-3  # margin, in logits, of a class that cannot be reached


@dataclass(frozen=True, kw_only=True)
class MaximumMargin:
    """The largest margin of all classes over the second largest."""

    starts: int = 4
    steps: int = 100
    seed: int = 0  # of the starts
    share: float = 1.0  # of the work that is bearable

    def __call__(self, model: Model) -> tuple[ScreenResult, list[Finding]]:
        """Push the network towards each class.

        Raises:
            StepError: the GPU has no room for it.
        """
        count = len(model.classes)
        if count < _FEWEST:
            return not_run(f"{count} classes are too few to tell one from the others")
        passes = count * self.starts * self.steps
        if (why := too_long(model, passes, share=self.share)) is not None:
            return not_run(why)
        if not has_logits(model):
            return not_run("the network gives probabilities, and no softmax of its own was seen")
        margins = maximum_margins(model, seed=self.seed, starts=self.starts, steps=self.steps)
        if not bool(margins.isfinite().all()):
            return undecided("the network's answers are not finite")
        (first, second), (top, other) = (part.tolist() for part in margins.topk(2))
        name = model.classes[top]
        if first <= 0:
            return undecided("the search could push the network to no class")
        message = (
            f"class {name!r} can be pushed furthest, {first / second:.2f} times as far above the "
            f"others as class {model.classes[other]!r}"
            if second > 0
            else f"the search could push the network to class {name!r} alone"
        )
        result = ScreenResult(
            score=first / max(second, _LEAST), outcome="not-flagged", message=message,
            by_class=tuple(margins.tolist()),
        )  # fmt: skip
        return result, []
