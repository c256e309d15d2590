"""Which lines of the policy does what was measured of an attempt violate, but for chance?"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Protocol

import torch
from scipy.special import ndtri

from gatekeeper.purification.trial import Trial
from gatekeeper.records import Measure
from gatekeeper.screening.robust import robust_z, widened
from gatekeeper.verification import Observation

WORKS, SMALLEST = "recovered_trigger_success", "smallest_trigger_area"
TRIGGERS = (WORKS, SMALLEST)  # no value: not accepted
_WORST = ("worst_class_recall", "worst_class_recall_drop")
DROP = "clean_accuracy_drop"
_MOST_SLACK = 0.01  # of accuracy; with a handful of images, chance could excuse anything
_HALF = 0.5  # a smallest trigger below this share of the median class's stands out
_CHANCE = 0.1  # of naming a class where none is easier than chance has it
_LEAST_CLASSES = 4  # reached ones, for a median that means something


class Required(Protocol):
    """One bound of a policy, which reads itself aloud as `at most 0.02`."""

    def met_by(self, value: float) -> bool:
        """Tell whether `value` is within the bound."""
        ...


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


def judged(
    tried: dict[str, Measure], require: Mapping[str, Required], outstanding: str, views: int
) -> Trial:
    """Hold what was `tried` against the policy's lines; `views` in which images were asked."""
    bounds = {name: require[name] for name in tried if name in require}
    violated = [name for name, bound in bounds.items() if violates(tried[name], bound)]
    drop = tried[DROP]
    over = DROP in bounds and drop.value is not None and not bounds[DROP].met_by(drop.value)
    return Trial(
        acceptable=not violated,
        accuracy_drop=drop.value or 0.0,
        trigger_left=any(name in TRIGGERS for name in violated),
        accuracy_lost=any(name not in TRIGGERS for name in violated),
        stands_out=bool(outstanding),
        by_chance=over and DROP not in violated,
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


def violates(measured: Measure, bound: Required) -> bool:
    """What chance may have done on few images is not held against an attempt.

    The worst of many classes is bad by chance. Attempts know three quarters of the images; what is
    chosen is tuned longer on all of them, and gains. So a strong attempt is not given up for a loss
    that lies within one standard error of the line; verification has images of its own.
    """
    value, low, high = measured.value, measured.low, measured.high
    if value is None:
        return measured.name in TRIGGERS
    if low is None or high is None or bound.met_by(value):
        return not bound.met_by(value)
    if measured.name in _WORST:
        return not bound.met_by(max(0.0, low)) and not bound.met_by(high)
    slack = min((high - low) / 4, _MOST_SLACK)  # about one standard error
    return not (measured.name == DROP and bound.met_by(value - slack))
