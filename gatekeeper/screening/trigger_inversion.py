"""Trigger inversion: a class that a small patch forces on nearly all images (`inversion.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gatekeeper.inversion import invert
from gatekeeper.model import Images, Model
from gatekeeper.records import Finding, ScreenResult
from gatekeeper.triggers import Trigger


@dataclass(frozen=True, kw_only=True)
class TriggerInversion:
    """The smallest share of the image that forces a class; flags what is under `bound`."""

    bound: float  # share of the image
    seed: int = 0

    def __call__(self, model: Model, images: Images) -> tuple[ScreenResult, list[Finding]]:
        """Recover a trigger for each class, and judge them.

        Raises:
            StepError: the GPU has no room for it.
        """
        return self.judge(model, invert(model, images, seed=self.seed))

    def judge(
        self, model: Model, triggers: Sequence[Trigger]
    ) -> tuple[ScreenResult, list[Finding]]:
        """Flag each class that one of the recovered `triggers` forces within the bound."""
        reached = [trigger for trigger in triggers if trigger.reached]
        small = [trigger for trigger in reached if trigger.area < self.bound]
        areas = {trigger.target: trigger.area for trigger in reached}
        result = ScreenResult(
            score=min(areas.values(), default=None),
            outcome="flagged" if small else "not-flagged" if reached else "undecided",
            message=f"{len(reached)} of {len(triggers)} classes reached; "
            f"{len(small)} by a trigger smaller than {self.bound:.3f} of the image"
            if triggers
            else "no class was tried",
            by_class=tuple(areas.get(k) for k in range(len(model.classes))) if triggers else (),
        )
        return result, [self._finding(trigger, model) for trigger in small]

    def _finding(self, trigger: Trigger, model: Model) -> Finding:
        return Finding(
            rule_id="small-trigger",
            screen="trigger-inversion",
            severity="high",
            score=trigger.area,
            threshold=self.bound,
            message=f"class {model.classes[trigger.target]!r} is forced by changing "
            f"{trigger.area:.2%} of the image (success {trigger.success:.1%} where it was fitted)",
        )
