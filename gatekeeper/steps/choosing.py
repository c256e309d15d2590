"""Holds an attempt of `auto` against the policy, on the images that it chooses by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from gatekeeper.intervals import mean_difference
from gatekeeper.model import Images, Model
from gatekeeper.purification.few_images import stand_ins
from gatekeeper.purification.plan import handful
from gatekeeper.purification.trial import Trial, TrialOf
from gatekeeper.records import Measure
from gatekeeper.steps.judging import (
    DROP,
    SMALLEST,
    TRIGGERS,
    WORKS,
    Required,
    judged,
    standing_out,
    violates,
)
from gatekeeper.triggers import Trigger, hits
from gatekeeper.verification import Observation, measure, observe
from gatekeeper.views import View, known_views, rightness

# Compared between attempts on a small validation split; the verdict uses the held-out images.
_ACCURACIES = (
    "clean_accuracy",
    "clean_accuracy_drop",
    "worst_class_recall",
    "worst_class_recall_drop",
)
_VARIED = 500  # variations that stand in for images where those are few


def trial_of(
    candidate: Model,
    validation: Images,
    require: Mapping[str, Required],
    *,
    trigger_area: float,
    min_samples_per_class: int,
    seed: int,
) -> TrialOf:
    """Observe the candidate once, and give what judges each attempt beside it.

    Args:
        candidate: what came in.
        validation: clean images that no attempt of the search is tuned on, if there are enough to
            keep some; where they are a handful, triggers are sought on variations of them.
        require: the policy's lines by metric; those that can be tried are.
        trigger_area: share of the image below which a trigger is too small to be natural.
        min_samples_per_class: classes with fewer images are not compared.
        seed: of the searches for triggers.

    Raises:
        StepError: the GPU has no room to search for triggers.
    """
    shown = _shown(candidate, validation, seed)
    views = known_views(candidate, validation)
    return _Trials(
        validation=validation,
        shown=shown,
        before=observe(candidate, shown, seed=seed),
        answered=observe(candidate, validation, seed=seed, triggers=False),
        views=views,
        known=rightness(candidate, validation, views),
        require=require,
        area=trigger_area,
        least=min_samples_per_class,
        seed=seed,
    )


@dataclass(frozen=True, kw_only=True)
class _Trials:
    """What is known of the candidate, and held against each attempt."""

    validation: Images
    shown: Images  # those that triggers are sought on
    before: Observation  # of the candidate, on `shown`
    answered: Observation  # of the candidate, on `validation`, without triggers
    views: tuple[View, ...]
    known: Tensor  # (N,) how often the candidate names each of `validation`
    require: Mapping[str, Required]
    area: float
    least: int
    seed: int

    def __call__(self, purified: Model) -> Trial:
        """Judge an attempt."""
        tried = self._accuracies(purified)
        require, views = self.require, len(self.views)
        lost = any(violates(tried[name], require[name]) for name in tried if name in require)
        after = observe(purified, self.shown, seed=self.seed + 1, triggers=not lost)
        recovered = self._measured(purified, self.shown, after, self.before)
        varied = self.shown is not self.validation
        on = f"on {len(self.shown)} variations of the images" if varied else ""
        # What forgot too much is refused whatever triggers it has, and to seek them takes longest.
        asked = TRIGGERS[:1] if lost else TRIGGERS
        tried |= {name: _noted(recovered[name], on) for name in asked}
        found = judged(tried, require, standing_out(after, self.validation.classes), views)
        return found if lost else replace(found, left=self._left(purified, after, tried, found))

    def _accuracies(self, purified: Model) -> dict[str, Measure]:
        answers = observe(purified, self.validation, seed=self.seed, triggers=False)
        measures = self._measured(purified, self.validation, answers, self.answered)
        lost = self.known - rightness(purified, self.validation, self.views)
        measures[DROP] = _lost(lost, len(self.views))
        return {name: measures[name] for name in _ACCURACIES if name in measures}

    def _measured(
        self, purified: Model, images: Images, seen: Observation, candidate: Observation
    ) -> dict[str, Measure]:
        return measure(
            purified, images, seen, candidate=candidate, trigger_area=self.area,
            min_samples_per_class=self.least,
        )  # fmt: skip

    def _left(
        self, purified: Model, after: Observation, tried: dict[str, Measure], found: Trial
    ) -> tuple[Trigger, ...]:
        """Give the triggers that the attempt left, or left too easy."""
        left: list[Trigger] = []
        if tried[WORKS].value is not None:
            small = [t for t in self.before.triggers if t.reached and t.area < self.area]
            left += _working(purified, self.shown, small, self.require.get(WORKS))
        if tried[SMALLEST].value is not None:
            left += _easy(after, self.area, outstanding=found.stands_out)
        return tuple(left)


def _working(
    purified: Model, shown: Images, triggers: Sequence[Trigger], bound: Required | None
) -> list[Trigger]:
    """Give those of the candidate's triggers that work more often than the policy allows."""
    if bound is None:
        return []
    won = [hits(purified, trigger, shown) for trigger in triggers]
    shares = [hit / max(1, of) for hit, of in won]
    return [t for t, share in zip(triggers, shares, strict=True) if not bound.met_by(share)]


def _easy(after: Observation, area: float, *, outstanding: bool) -> list[Trigger]:
    """Give the triggers that are too small; the smallest, too, where its class stands out."""
    reached = sorted((t for t in after.triggers if t.reached), key=lambda one: one.area)
    small = [trigger for trigger in reached if trigger.area < area]
    return small or (reached[:1] if outstanding else [])


def _noted(measured: Measure, where: str) -> Measure:
    return replace(measured, note="; ".join(filter(None, [measured.note, where])))


def _shown(candidate: Model, validation: Images, seed: int) -> Images:
    """Give what triggers are sought and tried on: with a handful of images, variations of them.

    On ten images a small trigger is found for every class of any network, and works by chance.
    One class that is rare among many images is no reason.
    """
    if not handful(validation):
        return validation
    return stand_ins(candidate, validation, seed=seed, count=max(_VARIED, len(validation)))


def _lost(differences: Tensor, views: int) -> Measure:
    """Give the mean of (N,) losses of accuracy, each of one image in so many views."""
    value, low, high = mean_difference(differences.tolist())
    note = f"each image in {views} views that the candidate knows" if views > 1 else ""
    return Measure(name=DROP, value=value, low=low, high=high, n=len(differences), note=note)
