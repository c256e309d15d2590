"""From what the screens measured to numbers that can be weighed: the larger, the more suspicious.

All but one are relative, a class against the network's own median class, so that they mean the same
for 10 classes and 43, digits and photographs. Pure: no torch, no files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from gatekeeper.records import ScreenResult

_FEWEST = 4  # classes below which "the others" says nothing


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One number, and the class and source that it points to, by index."""

    value: float
    target: int | None = None
    source: int | None = None


def small_trigger(result: ScreenResult) -> Seen | None:
    """How small a share of the image forces some class: -log10 of it."""
    reached = _known(result.by_class)
    if not reached:
        return None
    target = min(reached, key=lambda place: reached[place])
    return Seen(value=-math.log10(max(reached[target], 1e-6)), target=target)


def smaller_trigger(result: ScreenResult) -> Seen | None:
    """How much smaller the smallest trigger is than that of the median class, as a logarithm."""
    areas = [math.inf if area is None else area for area in result.by_class]
    return _below(areas)


def larger_margin(result: ScreenResult) -> Seen | None:
    """How much larger the largest margin is than that of the median class, as a logarithm."""
    margins = _known(result.by_class)
    if len(margins) < max(_FEWEST, len(result.by_class)):
        return None
    usual = median(margins.values())
    target = max(margins, key=lambda place: margins[place])
    if usual <= 0:
        return None
    return Seen(value=math.log(max(margins[target] / usual, 1.0)), target=target)


def easier_perturbation(result: ScreenResult) -> Seen | None:
    """How many more images one faint change brings to a class than to the median class."""
    obeyed = _known(result.by_class)
    if len(obeyed) < _FEWEST:
        return None
    target = max(obeyed, key=lambda place: obeyed[place])
    return Seen(value=obeyed[target] - median(obeyed.values()), target=target)


def shorter_shift(result: ScreenResult) -> Seen | None:
    """How much shorter the shortest shift is than that to the median class, as a logarithm."""
    lengths = [math.inf if length is None else length for length in result.by_class]
    return _below(lengths)


def closer_pair(result: ScreenResult) -> Seen | None:
    """How much less leads from one class to another than between the median pair."""
    if len(result.pairs) < _FEWEST:
        return None
    usual = median(pair.area for pair in result.pairs)
    first = min(result.pairs, key=lambda pair: pair.area)
    value = math.log(usual / max(first.area, 1e-6))
    return Seen(value=value, target=first.target, source=first.source)


def easier_to_leave(result: ScreenResult) -> Seen | None:
    """How small a share of the image makes all classes leave, for how many others."""
    if result.score is None or not result.destinations:
        return None
    places = {place for place in result.destinations if place is not None}
    spread = len(places) / len(result.destinations)
    return Seen(value=-math.log10(max(result.score, 1e-6)) * spread)


def _known(values: Sequence[float | None]) -> dict[int, float]:
    return {place: value for place, value in enumerate(values) if value is not None}


def _below(values: Sequence[float]) -> Seen | None:
    """How far, as a logarithm, the least value lies below the median."""
    if len(values) < _FEWEST or math.isinf(min(values)):
        return None
    finite = [value for value in values if math.isfinite(value)]
    usual = median(values) if math.isfinite(median(values)) else max(finite)
    target = values.index(min(values))
    return Seen(value=math.log(usual / max(values[target], 1e-6)), target=target)


# What each piece of evidence is drawn from.
PIECES: dict[str, tuple[str, Callable[[ScreenResult], Seen | None]]] = {
    "small-trigger": ("trigger-inversion", small_trigger),
    "smaller-trigger": ("trigger-inversion", smaller_trigger),
    "larger-margin": ("maximum-margin", larger_margin),
    "easier-perturbation": ("universal-perturbation", easier_perturbation),
    "shorter-shift": ("hidden-shift", shorter_shift),
    "closer-pair": ("pair-inversion", closer_pair),
    "easier-to-leave": ("untargeted-inversion", easier_to_leave),
}


def gathered(screens: Mapping[str, ScreenResult]) -> dict[str, Seen | None]:
    """Give every piece of evidence; None where its screen was not run or saw nothing."""
    return {
        name: draw(screens[screen]) if screen in screens else None
        for name, (screen, draw) in PIECES.items()
    }
