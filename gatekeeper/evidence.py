"""From what the screens measured to numbers that can be weighed: the larger, the more suspicious.

Most speak about one class, against the network's own other classes, so that they mean the same for
10 classes and 43, digits and photographs; what a class has against it is weighed together, as a
backdoor shows in several screens at once and chance does not. Pure: no torch, no files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from gatekeeper.records import PairArea, ScreenResult

_FEWEST = 4  # classes below which "the others" says nothing
_FEWEST_LEFT = 8  # classes below which any network scatters over all of them
_WHOLE = 1.0  # share of the image, where nothing smaller was found
_LEAST, _MOST = -3.0, 4.0  # of a logarithm; further out says no more
_FAR = 30.0  # a shift longer than so many deviations reached nothing


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What is known of one network; lists hold a number for each class, None where unknown."""

    by_class: dict[str, list[float | None]]
    pair: tuple[float, int, int] | None  # value, source, target
    leaving: float | None


def smaller_trigger(result: ScreenResult) -> list[float | None]:
    """How much smaller a class's trigger is than the median class's, as a logarithm."""
    return _below([_WHOLE if area is None else area for area in result.by_class])


def lone_trigger(result: ScreenResult) -> list[float | None]:
    """How much smaller a class's trigger is than the smallest of the others, as a logarithm."""
    return _ahead([_WHOLE if area is None else area for area in result.by_class])


def small_trigger(result: ScreenResult) -> list[float | None]:
    """How small a share of the image forces a class: -log10 of it."""
    return [0.0 if area is None else -math.log10(max(area, 1e-6)) for area in result.by_class]


def larger_margin(result: ScreenResult) -> list[float | None]:
    """How much larger a class's margin is than the median class's, as a logarithm."""
    if None in result.by_class:
        return [None] * len(result.by_class)
    return _below([1 / max(margin or 0.0, 1e-3) for margin in result.by_class])


def lone_margin(result: ScreenResult) -> list[float | None]:
    """How much larger a class's margin is than the largest of the others, as a logarithm."""
    if None in result.by_class:
        return [None] * len(result.by_class)
    return _ahead([1 / max(margin or 0.0, 1e-3) for margin in result.by_class])


def easier_than_leaving(result: ScreenResult, leaving: ScreenResult) -> list[float | None]:
    """How much less forces a class than makes images leave theirs for any other, as a logarithm.

    A network that small changes mislead anyway needs little for both.
    """
    if leaving.score is None or len(result.by_class) < _FEWEST:
        return [None] * len(result.by_class)
    away = max(leaving.score, 1e-6)
    return [
        None if area is None else min(max(math.log(away / max(area, 1e-6)), _LEAST), _MOST)
        for area in result.by_class
    ]


def easier_perturbation(result: ScreenResult) -> list[float | None]:
    """How many more images one faint change brings to a class than to the median class."""
    known = [share for share in result.by_class if share is not None]
    if len(known) < _FEWEST:
        return [None] * len(result.by_class)
    usual = median(known)
    return [None if share is None else share - usual for share in result.by_class]


def shorter_shift(result: ScreenResult) -> list[float | None]:
    """How much shorter a class's shift is than the median class's, as a logarithm."""
    return _below([_FAR if one is None else min(one, _FAR) for one in result.by_class])


def closer_pair(pairs: Sequence[PairArea]) -> tuple[float, int, int] | None:
    """How much less leads from one class to one other than between any other pair, as a logarithm.

    Classes that are alike are close, but hardly ever one pair alone. Where no other pair was
    reached, the others need the whole image.
    """
    order = sorted(pairs, key=lambda pair: pair.area)
    if not order:
        return None
    first, second = order[0], order[1].area if len(order) > 1 else _WHOLE
    value = math.log(max(second, 1e-6) / max(first.area, 1e-6))
    return min(value, _MOST), first.source, first.target


def easier_to_leave(result: ScreenResult) -> float | None:
    """How small a share of the image makes all classes leave, for how many others."""
    if result.score is None or len(result.destinations) < _FEWEST_LEFT:
        return None
    places = {place for place in result.destinations if place is not None}
    return -math.log10(max(result.score, 1e-6)) * len(places) / len(result.destinations)


def _below(values: Sequence[float]) -> list[float | None]:
    """How far, as a logarithm, each value lies below the median."""
    if len(values) < _FEWEST:
        return [None] * len(values)
    usual = median(values)
    return [_ratio(usual, value) for value in values]


def _ahead(values: Sequence[float]) -> list[float | None]:
    """How far, as a logarithm, each value lies below the least of the others."""
    if len(values) < _FEWEST:
        return [None] * len(values)
    first, second = sorted(values)[:2]
    return [_ratio(second if value == first else first, value) for value in values]


def _ratio(usual: float, value: float) -> float:
    found = math.log(max(usual, 1e-6) / max(value, 1e-6))
    return min(max(found, _LEAST), _MOST)


# Pieces of evidence about a class, and the screens that each is drawn from, its own first.
BY_CLASS: dict[str, tuple[tuple[str, ...], Callable[..., list[float | None]]]] = {
    "small-trigger": (("trigger-inversion",), small_trigger),
    "smaller-trigger": (("trigger-inversion",), smaller_trigger),
    "lone-trigger": (("trigger-inversion",), lone_trigger),
    "easier-than-leaving": (("trigger-inversion", "untargeted-inversion"), easier_than_leaving),
    "larger-margin": (("maximum-margin",), larger_margin),
    "lone-margin": (("maximum-margin",), lone_margin),
    "easier-perturbation": (("universal-perturbation",), easier_perturbation),
    "shorter-shift": (("hidden-shift",), shorter_shift),
}
PAIR, LEAVING = "closer-pair", "easier-to-leave"
SCREEN_OF = {name: screens[0] for name, (screens, _) in BY_CLASS.items()} | {
    PAIR: "pair-inversion",
    LEAVING: "untargeted-inversion",
}


def gathered(screens: Mapping[str, ScreenResult]) -> Seen:
    """Give all that the screens' results say."""
    pair = screens.get(SCREEN_OF[PAIR])
    leaving = screens.get(SCREEN_OF[LEAVING])
    return Seen(
        by_class={
            name: draw(*(screens[one] for one in needed))
            for name, (needed, draw) in BY_CLASS.items()
            if all(one in screens for one in needed) and screens[needed[0]].by_class
        },
        pair=closer_pair(pair.pairs) if pair is not None else None,
        leaving=easier_to_leave(leaving) if leaving is not None else None,
    )


def weighed(seen: Seen, weights: Mapping[str, float], classes: int) -> int | None:
    """Give the class that has most against it; None where nothing is known of any."""
    if not seen.by_class:
        return None

    def total(place: int) -> float:
        return sum(
            weights.get(name, 0.0) * (values[place] or 0.0)
            for name, values in seen.by_class.items()
        )

    return max(range(classes), key=total)


def values_for(seen: Seen, target: int | None) -> dict[str, float | None]:
    """Give the value of every piece: those about a class for the class `target`."""
    by_class = {
        name: seen.by_class[name][target] if name in seen.by_class and target is not None else None
        for name in BY_CLASS
    }
    return {**by_class, PAIR: seen.pair[0] if seen.pair else None, LEAVING: seen.leaving}
