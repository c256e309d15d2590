"""Holds an attempt of `auto` against the policy, on the images that it chooses by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Protocol

import torch
from scipy.special import ndtri
from torch import Tensor

from gatekeeper.intervals import mean_difference
from gatekeeper.model import Images, Model
from gatekeeper.purification.few_images import stand_ins
from gatekeeper.purification.plan import handful
from gatekeeper.purification.trial import Trial, TrialOf
from gatekeeper.records import Measure
from gatekeeper.screening.robust import robust_z, widened
from gatekeeper.triggers import Trigger, hits
from gatekeeper.verification import Observation, measure, observe
from gatekeeper.views import known_views, rightness

# Compared between attempts on a small validation split; the verdict uses the held-out images.
_ACCURACIES = (
    "clean_accuracy",
    "clean_accuracy_drop",
    "worst_class_recall",
    "worst_class_recall_drop",
)
_WORKS, _SMALLEST = "recovered_trigger_success", "smallest_trigger_area"
_TRIGGERS = (_WORKS, _SMALLEST)  # no value: not accepted
_HALF = 0.5  # a smallest trigger below this share of the median class's stands out
_CHANCE = 0.1  # of naming a class where none is easier than chance has it
_LEAST_CLASSES = 4  # reached ones, for a median that means something
_VARIED = 500  # variations that stand in for images where those are few
_WORST = ("worst_class_recall", "worst_class_recall_drop")
_DROP = "clean_accuracy_drop"
_MOST_SLACK = 0.01  # of accuracy; with a handful of images, chance could excuse anything


class Required(Protocol):
    """One bound of a policy, which reads itself aloud as `at most 0.02`."""

    def met_by(self, value: float) -> bool:
        """Tell whether `value` is within the bound."""
        ...


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
    before = observe(candidate, shown, seed=seed)
    answered = observe(candidate, validation, seed=seed, triggers=False)
    views = known_views(candidate, validation)
    known = rightness(candidate, validation, views)

    def trial(purified: Model) -> Trial:
        measured = partial(
            measure, purified, trigger_area=trigger_area,
            min_samples_per_class=min_samples_per_class,
        )  # fmt: skip
        measures = measured(
            validation, observe(purified, validation, seed=seed, triggers=False),
            candidate=answered,
        )  # fmt: skip
        measures[_DROP] = _lost(known - rightness(purified, validation, views), len(views))
        tried = {name: measures[name] for name in _ACCURACIES if name in measures}
        lost = any(_violates(tried[name], require[name]) for name in tried if name in require)
        after: Observation = observe(purified, shown, seed=seed + 1, triggers=not lost)
        recovered = measured(shown, after, candidate=before)
        on = "" if shown is validation else f"on {len(shown)} variations of the images"
        # What forgot too much is refused whatever triggers it has, and to seek them takes longest.
        asked = _TRIGGERS[:1] if lost else _TRIGGERS
        tried |= {name: _noted(recovered[name], on) for name in asked}
        judged = _judged(tried, require, standing_out(after, validation.classes), len(views))
        if lost:
            return judged
        left: list[Trigger] = []
        if tried[_WORKS].value is not None:
            small = [t for t in before.triggers if t.reached and t.area < trigger_area]
            left += _working(purified, shown, small, require.get(_WORKS))
        if tried[_SMALLEST].value is not None:
            left += _easy(after, trigger_area, outstanding=judged.stands_out)
        return replace(judged, left=tuple(left))

    return trial


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
    return Measure(name=_DROP, value=value, low=low, high=high, n=len(differences), note=note)


def standing_out(observed: Observation, classes: tuple[str, ...]) -> str:
    """Say which class is far easier to reach than the others, if one is."""
    reached = sorted((t for t in observed.triggers if t.reached), key=lambda one: one.area)
    if len(reached) < _LEAST_CLASSES:
        return ""
    smallest, usual = reached[0], median(trigger.area for trigger in reached)
    areas = torch.tensor([trigger.area for trigger in reached])
    apart = float(robust_z(areas.clamp_min(1 / smallest.mask.numel()).log())[0])
    far = widened(float(-ndtri(_CHANCE / len(reached))), len(reached))
    if smallest.area >= _HALF * usual or apart > -far:
        return ""
    return (
        f"class {classes[smallest.target]} still stands out: a trigger of {smallest.area:.3f} of "
        f"the image reaches it, {usual:.3f} the median class"
    )


def _judged(
    tried: dict[str, Measure], require: Mapping[str, Required], outstanding: str, views: int
) -> Trial:
    bounds = {name: require[name] for name in tried if name in require}
    violated = [name for name, bound in bounds.items() if _violates(tried[name], bound)]
    drop = tried[_DROP]
    over = _DROP in bounds and drop.value is not None and not bounds[_DROP].met_by(drop.value)
    return Trial(
        acceptable=not violated,
        accuracy_drop=drop.value or 0.0,
        trigger_left=any(name in _TRIGGERS for name in violated),
        accuracy_lost=any(name not in _TRIGGERS for name in violated),
        stands_out=bool(outstanding),
        by_chance=over and _DROP not in violated,
        message="; ".join(filter(None, [_told(tried, bounds, violated, views), outstanding])),
        measures=tried,
    )


def _told(
    tried: dict[str, Measure], bounds: dict[str, Required], violated: list[str], views: int
) -> str:
    def all_of(names: list[str]) -> str:
        return ", ".join(
            f"{name} {_percent(tried[name])} (wanted {bounds[name]})" for name in names
        )

    where = f"on the {tried['clean_accuracy'].n} validation images"
    where += f", each in {views} views" if views > 1 else ""
    if violated:
        return f"violated {where}: {all_of(violated)}"
    values = {name: measured.value for name, measured in tried.items()}
    over = [n for n, b in bounds.items() if (v := values[n]) is not None and not b.met_by(v)]
    chance = f" but for what chance may have done: {all_of(over)}" if over else ""
    untried = [name for name in bounds if tried[name].value is None]
    left = f"; too few images to try {', '.join(untried)}" if untried else ""
    return f"no line of the policy is violated {where}{chance}{left}"


def _percent(measured: Measure) -> str:
    return "not measured" if measured.value is None else f"{100 * measured.value:.4g} %"


def _violates(measured: Measure, bound: Required) -> bool:
    """What chance may have done on few images is not held against an attempt.

    The worst of many classes is bad by chance. Attempts know three quarters of the images; what is
    chosen is tuned longer on all of them, and gains. So a strong attempt is not given up for a loss
    that lies within one standard error of the line; verification has images of its own.
    """
    value, low, high = measured.value, measured.low, measured.high
    if value is None:
        return measured.name in _TRIGGERS
    if low is None or high is None or bound.met_by(value):
        return not bound.met_by(value)
    if measured.name in _WORST:
        return not bound.met_by(max(0.0, low)) and not bound.met_by(high)
    slack = min((high - low) / 4, _MOST_SLACK)  # about one standard error
    return not (measured.name == _DROP and bound.met_by(value - slack))
