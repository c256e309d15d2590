"""What is easy by nature: how the classes of one task differ among networks known to be clean.

An 8 of handwriting is nearer to every other digit than a 1 is, whoever trained the network. Where
networks of the same classes are known, each class is held against what they show of it, and what is
left is this network's own. Pure: no torch, no files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from gatekeeper.records import ScreenResult

FEWEST = 3  # networks below which their median is chance
_DOUBTED = 2  # networks' worth of doubt: with so many known, half of what they show is believed
_WHOLE = 1.0  # share of the image, where nothing smaller was found
_Screen = Literal["trigger-inversion", "maximum-margin"]
_LEAST: dict[_Screen, float] = {"trigger-inversion": 1e-6, "maximum-margin": 1e-3}  # is nothing
_FAR = 30.0  # a logarithm further out says no more
_Far = Annotated[float, Field(ge=-_FAR, le=_FAR)]


class Nature(BaseModel):
    """How far each class lies from the median class, as a logarithm, by screen."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    classes: tuple[str, ...] = Field(min_length=2)
    images: str = Field(min_length=1)  # digest of the clean images that they were screened on
    networks: int = Field(ge=FEWEST)
    usual: dict[_Screen, tuple[_Far, ...]] = Field(min_length=1)


def nature_of(
    classes: Sequence[str], known: Sequence[Mapping[str, ScreenResult]], *, images: str
) -> Nature | None:
    """Draw it from clean networks' screens; None where too few of them measured every class.

    Args:
        classes: their names, in the networks' order.
        known: what the screens say of each network.
        images: digest of the clean images that all were screened on.
    """
    fewest = len(known)
    usual: dict[_Screen, tuple[float, ...]] = {}
    for name in _LEAST:
        rows = [
            row
            for one in known
            if name in one and (row := _apart(name, one[name].by_class)) is not None
        ]
        rows = [row for row in rows if len(row) == len(classes)]
        if len(rows) >= FEWEST:
            fewest = min(fewest, len(rows))
            usual[name] = tuple(_told(median(column)) for column in zip(*rows, strict=True))
    if not usual:
        return None
    return Nature(classes=tuple(classes), images=images, networks=fewest, usual=usual)


def take_off(nature: Nature, screens: Mapping[str, ScreenResult]) -> dict[str, ScreenResult]:
    """Take from what the screens measured of each class what is easy by nature."""
    believed = nature.networks / (nature.networks + _DOUBTED)
    found = dict(screens)
    for name, usual in nature.usual.items():
        if name in screens:
            found[name] = _without(screens[name], usual, believed)
    return found


def _without(result: ScreenResult, usual: Sequence[float], believed: float) -> ScreenResult:
    if len(result.by_class) != len(usual):
        return result
    by_class = tuple(
        None if value is None else value * math.exp(-believed * far)
        for value, far in zip(result.by_class, usual, strict=True)
    )
    return replace(result, by_class=by_class)


def _apart(name: _Screen, by_class: Sequence[float | None]) -> list[float] | None:
    """How far each class lies from the median one; None where a margin is missing."""
    if not by_class or (name == "maximum-margin" and None in by_class):
        return None
    logs = [math.log(max(_WHOLE if value is None else value, _LEAST[name])) for value in by_class]
    usual = median(logs)
    return [one - usual for one in logs]


def _told(value: float) -> float:
    return round(min(max(value, -_FAR), _FAR), 4)
