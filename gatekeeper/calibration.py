"""The calibration: how much each piece of evidence weighs, and where suspicion begins.

`benchmarks/screening.py` writes the one that ships, from networks that it trained and backdoored;
`gatekeeper calibrate` moves its threshold to an organisation's own known-clean networks.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gatekeeper.assessments import CalibrationRecord, Rate
from gatekeeper.errors import CalibrationError
from gatekeeper.evidence import SCREEN_OF
from gatekeeper.intervals import wilson
from gatekeeper.nature import Nature
from gatekeeper.resources import bundled
from gatekeeper.validation import validated
from gatekeeper.yaml_source import read_yaml

ALLOWED = 0.05  # false alarms
OWN = "own"  # name of one that an organisation's networks moved
_FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Weight(BaseModel):
    """What one piece of evidence counts for."""

    model_config = _FROZEN
    weight: float = Field(ge=0, le=1e6)  # of a unit of the evidence above the usual
    usual: float  # of the median clean network
    clean_high: float  # 95 of 100 clean networks lie below


class Share(BaseModel):
    """A rate with its 95 % interval, over `n` networks."""

    model_config = _FROZEN
    value: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)
    n: int = Field(ge=0)


class Reference(BaseModel):
    """Scores of known networks that were seen without some screens, and the bound among them."""

    model_config = _FROZEN
    without: tuple[str, ...] = ()  # screens
    natural: bool = False  # held against what clean networks of the same classes show
    own: bool = False  # drawn from an organisation's networks, each held against the others
    threshold: float  # scores from here on are suspicious
    clean: tuple[float, ...] = Field(min_length=1)
    backdoored: tuple[float, ...]
    false_alarms: Share
    detection: Share


class Calibration(BaseModel):
    """A calibration as read; `path` and `sha256` are those of its file."""

    model_config = _FROZEN
    name: str = Field(min_length=1, max_length=100)
    made: str = Field(max_length=500)  # from what, when and by which command
    classes: tuple[int, int]  # the fewest and the most that a network of it has
    evidence: dict[str, Weight] = Field(min_length=1)
    references: tuple[Reference, ...] = Field(min_length=1)
    natures: tuple[Nature, ...] = ()  # of the tasks whose clean networks are known
    path: str
    sha256: str

    @model_validator(mode="after")
    def _able(self) -> Calibration:
        few, many = self.classes
        if not 1 <= few <= many:
            message = f"classes: [{few}, {many}] is no range of numbers of classes"
            raise ValueError(message)
        if not any(piece.weight > 0 for piece in self.evidence.values()):
            message = "no evidence has a weight, so nothing could be suspected"
            raise ValueError(message)
        for reference in self.references:
            if reference.threshold > math.nextafter(
                max(*reference.clean, *reference.backdoored, 0.0), math.inf
            ):
                message = f"threshold {reference.threshold:g} is above every known network's score"
                raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _known(self) -> Calibration:
        for name in self.evidence:
            if name not in SCREEN_OF:
                message = f"no evidence {name!r}; there is {', '.join(SCREEN_OF)}"
                raise ValueError(message)
        kept = [(frozenset(one.without), one.natural) for one in self.references]
        if len(set(kept)) < len(kept):
            message = "two references are without the same screens"
            raise ValueError(message)
        named = {name for one in self.references for name in one.without}
        for name in named - {*SCREEN_OF.values()}:
            message = (
                f"no screen {name!r} is weighed; {', '.join(dict.fromkeys(SCREEN_OF.values()))} are"
            )
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _whole(self) -> Calibration:
        for nature in self.natures:
            if any(len(usual) != len(nature.classes) for usual in nature.usual.values()):
                message = f"natures: {len(nature.classes)} classes need as many numbers"
                raise ValueError(message)
        if len({(one.classes, one.images) for one in self.natures}) < len(self.natures):
            message = "natures: two are of the same classes and images"
            raise ValueError(message)
        return self

    def reference(self, without: Collection[str], *, natural: bool = False) -> Reference | None:
        """Give the one for networks seen without just these screens."""
        alike = (one for one in self.references if one.natural == natural)
        return next((one for one in alike if {*one.without} == {*without}), None)

    def nature(self, classes: Sequence[str], images: str | None) -> Nature | None:
        """Give what is known of networks of just these classes, screened on just these images."""
        alike = (one for one in self.natures if one.images == images)
        return next((one for one in alike if one.classes == tuple(classes)), None)

    def renamed(self, classes: Sequence[str], images: str | None) -> bool:
        """Tell whether networks screened on these images had other classes, or another order."""
        alike = [one.classes for one in self.natures if one.images == images]
        return bool(alike) and tuple(classes) not in alike

    def record(self, reference: Reference, nature: Nature | None = None) -> CalibrationRecord:
        """What a report shows of it."""
        return CalibrationRecord(
            name=self.name,
            sha256=self.sha256,
            without=reference.without,
            natural=nature.networks if nature is not None else 0,
            own=reference.own,
            threshold=reference.threshold,
            clean=reference.clean,
            backdoored=reference.backdoored,
            false_alarms=Rate(**reference.false_alarms.model_dump()),
            detection=Rate(**reference.detection.model_dump()),
        )


def threshold(clean: Sequence[float], allowed: float = ALLOWED) -> float:
    """Give the score from which on at most the share `allowed` of clean networks is suspected.

    With n networks known, a new one is as likely to take any of the n + 1 places among them; where
    n is too small for that, the bound is the largest score known.
    """
    order = sorted(clean)
    place = math.ceil((1 - allowed) * (len(order) + 1))
    return math.nextafter(order[min(place, len(order)) - 1], math.inf)


def left_out_alarms(clean: Sequence[float], allowed: float = ALLOWED) -> list[bool]:
    """Tell for each score whether a bound drawn from the others would suspect it."""
    return [
        score >= threshold([*clean[:place], *clean[place + 1 :]], allowed)
        for place, score in enumerate(clean)
    ]


def rate(hits: Sequence[bool]) -> Share:
    """Give a share with its 95 % interval."""
    low, high = wilson(sum(hits), len(hits))
    return Share(value=sum(hits) / max(1, len(hits)), low=low, high=high, n=len(hits))


def read_calibration(path: str | None = None) -> Calibration:
    """Read a calibration file; the one that ships where none is given.

    Raises:
        CalibrationError: as `FILE:LINE: what`, or there is no such file.
    """
    place = Path(path) if path is not None else bundled("calibration") / "default.yaml"
    if not os.path.lexists(place):
        message = f"no calibration file {str(place)!r}"
        raise CalibrationError(message)
    document = read_yaml(place, CalibrationError)
    return validated(
        document, Calibration, CalibrationError, path=str(place), sha256=document.sha256
    )
