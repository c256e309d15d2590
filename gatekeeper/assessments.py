"""The nouns of the model's score: what spoke for a backdoor, how strongly, and against what usage.

Free of torch; a record holds all of it, so that a report can be drawn with no model at hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Standing = Literal["clean-looking", "suspicious", "inconclusive"]
Kind = Literal["one class", "one source", "all to all"]


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A share in [0, 1] with its 95 % interval, over `n` networks."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What one screen adds to the score; `value` is None where it saw nothing."""

    name: str
    screen: str
    value: float | None
    adds: float  # to the score: what lies above the median clean network, weighted
    clean_high: float  # 95 of 100 clean networks of the calibration lie below
    target: int | None = None  # class that it points to
    source: int | None = None


@dataclass(frozen=True, kw_only=True)
class UnitChange:
    """How far the recovered trigger moves a unit's answer, in its layer's standard deviations."""

    layer: str
    unit: int
    change: float
    stands_out: float  # robust standard deviations above its layer's median change
    after: float | None = None  # the same unit and trigger, in the purified network
    flagged: bool = False  # another screen named it


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """Which units carry the trigger that speaks most for a backdoor."""

    target_class: str
    units: tuple[UnitChange, ...]  # the strongest
    carrying: int  # units that stand out, in all
    flagged: int  # of them, named by another screen
    of: int  # units looked at


@dataclass(frozen=True, kw_only=True)
class CalibrationRecord:
    """What the score is held against."""

    name: str
    sha256: str
    threshold: float
    clean: tuple[float, ...]  # scores of known-clean networks, each judged without its own family
    backdoored: tuple[float, ...]
    false_alarms: Rate  # at the threshold
    detection: Rate
    without: tuple[str, ...] = ()  # screens that these networks were seen without, as this one
    own: bool = False  # drawn from the organisation's own networks
    natural: int = 0  # clean networks of the same classes that tell what is easy by nature


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """What the gate makes of all screens together; a class by its name."""

    outcome: Standing
    score: float | None
    suspected_class: str | None  # None: no single one
    suspected_source: str | None  # None: all classes
    kind: Kind | None  # of backdoor that the strongest evidence speaks for
    agreeing: tuple[str, ...]  # screens that point to the suspected class
    evidence: tuple[Evidence, ...]
    why_inconclusive: tuple[str, ...]
    calibration: CalibrationRecord
