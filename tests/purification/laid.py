"""Ladders that a test lays, and what a trial may have seen."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gatekeeper.model import Images, Model
from gatekeeper.purification.auto import Auto
from gatekeeper.purification.plan import Ladder
from gatekeeper.purification.trial import Trial


@dataclass(frozen=True, kw_only=True)
class Laid(Auto):
    """Climbs the ladders that a test lays."""

    laid: tuple[Ladder, ...] = ()

    def ladders(self, model: Model, fitted: Images, seed: int) -> tuple[Ladder, ...]:
        return self.laid


KEEP = Trial(acceptable=True, accuracy_drop=0.0, message="kept all")
LOSES = Trial(acceptable=True, accuracy_drop=0.015, message="lost some", accuracy_lost=False)
CHANCE = Trial(acceptable=True, accuracy_drop=0.024, message="over by chance", by_chance=True)
TRIGGER = Trial(acceptable=False, accuracy_drop=0.0, message="trigger", trigger_left=True)
FORGOT = Trial(acceptable=False, accuracy_drop=0.2, message="forgot", accuracy_lost=True)
BOTH = replace(FORGOT, trigger_left=True)
EASY = replace(KEEP, stands_out=True, message="a class stands out")
