"""What the caller of `auto` sees of an attempt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gatekeeper.model import Model
from gatekeeper.records import Measure
from gatekeeper.triggers import Trigger


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What the caller saw of an attempt: is it acceptable, and if not, for what reason?

    `by_chance`: it lost more than the line allows, by no more than chance may do on few images.
    `stands_out`: one class is still far easier to reach than the others. That violates nothing,
    but a stronger attempt that ends it is better. `left`: triggers that still work, are too small,
    or reach the class that stands out; none are told where accuracy was lost.
    """

    acceptable: bool
    accuracy_drop: float
    message: str
    trigger_left: bool = False
    accuracy_lost: bool = False
    stands_out: bool = False
    by_chance: bool = False
    measures: dict[str, Measure] = field(default_factory=dict)
    left: tuple[Trigger, ...] = ()


TrialOf = Callable[[Model], Trial]
