"""The search of `auto`: where it goes, what it keeps, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from laid import BOTH, CHANCE, EASY, FORGOT, KEEP, LOSES, TRIGGER, Laid

from gatekeeper.model import Images, Model
from gatekeeper.purification import FTSAM
from gatekeeper.purification.auto import Auto
from gatekeeper.purification.plan import Ladder
from gatekeeper.purification.trial import Trial
from gatekeeper.records import Attempt, Purification
from gatekeeper.triggers import Trigger


@dataclass(frozen=True)
class Rung:
    """A purifier that only writes down that it was tried."""

    method: ClassVar[str] = "scripted"

    rung: str
    made: list[str]

    def __call__(
        self, model: Model, clean: Images, *, seed: int, **_: object
    ) -> tuple[Model, Purification]:
        self.made.append(self.rung)
        attempt = Attempt(
            method="scripted", settings={"rung": self.rung, "images": len(clean)}, seconds=0.0,
            outcome="accepted", message="",
        )  # fmt: skip
        told = Purification(
            method="scripted", settings={}, seed=seed, device="cpu", seconds=0.0,
            attempts=(attempt,),
        )  # fmt: skip
        return model, told


def mark() -> Trigger:
    return Trigger(
        target=0, mask=torch.zeros(32, 32), pattern=torch.zeros(1, 32, 32), area=0.0, success=1.0,
        reached=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def parts(held_out: Images) -> tuple[Images, Images]:
    return held_out.select(torch.arange(360)), held_out.select(torch.arange(360, len(held_out)))


NOTHING = "lost at most a point of accuracy"


@pytest.mark.parametrize(
    ("seen", "start", "tried", "kept", "why"),
    [
        ([KEEP] * 3, 1, ["1"], "1", NOTHING),
        ([KEEP, TRIGGER, KEEP], 1, ["1", "0"], "0", NOTHING),
        ([KEEP, FORGOT, KEEP], 1, ["1", "2"], "2", NOTHING),
        ([KEEP, LOSES, TRIGGER], 1, ["1", "2"], "1", "nothing milder was better"),
        ([KEEP, LOSES, replace(LOSES, accuracy_drop=0.012)], 1, ["1", "2"], "1", "two attempts"),
        (
            [KEEP, replace(LOSES, accuracy_drop=0.023), replace(LOSES, accuracy_drop=0.012)],
            1,
            ["1", "2"],
            "2",
            "two attempts",
        ),
        ([TRIGGER, TRIGGER, KEEP], 1, ["1", "0", "other"], "other", NOTHING),
        ([KEEP, BOTH, KEEP], 1, ["1", "other"], "other", NOTHING),
        ([FORGOT] * 3, 2, ["2", "other"], "other", NOTHING),
        ([TRIGGER, FORGOT, TRIGGER], 1, ["1", "2", "other"], "other", NOTHING),
        ([KEEP, EASY, KEEP], 1, ["1", "0"], "0", NOTHING),
        ([FORGOT, EASY, KEEP], 1, ["1", "0", "other"], "other", NOTHING),
        ([replace(FORGOT, stands_out=True)] * 3, 1, ["1", "2", "other"], "other", NOTHING),
        ([KEEP, LOSES, EASY], 1, ["1", "2"], "1", "nothing milder was better"),
        ([KEEP, CHANCE, LOSES], 1, ["1", "2"], "1", "two attempts"),
        ([KEEP, CHANCE, replace(LOSES, accuracy_drop=0.012)], 1, ["1", "2"], "2", "two attempts"),
        ([KEEP, CHANCE, TRIGGER], 1, ["1", "2"], "1", "no more than chance; nothing milder"),
    ],
)
def test_auto_goes_where_the_trial_points(
    seen: list[Trial],
    start: int,
    tried: list[str],
    kept: str,
    why: str,
    parts: tuple[Images, Images],
    clean_model: Model,
) -> None:
    """A trigger left asks for a stronger rung, accuracy lost for a milder one."""
    made: list[str] = []
    shown = {"0": seen[0], "1": seen[1], "2": seen[2], "other": KEEP}
    ladder = Ladder(rungs=tuple(Rung(str(k), made) for k in range(3)), start=start)
    other = Ladder(rungs=(Rung("other", made),))
    auto = Laid(laid=(ladder, other))
    purified, told = auto(clean_model, parts[0], seed=0, trial=lambda _: shown[made[-1]])
    assert purified is not None
    assert made == tried
    assert told.settings["rung"] == kept
    assert why in told.stopped_because
    assert len(told.attempts) == len(tried)


@pytest.mark.parametrize(
    ("seen", "tried", "kept", "why"),
    [
        ([KEEP] * 4, ["2", "1", "0"], "0", "half a point of accuracy at most"),
        ([FORGOT, KEEP, KEEP, KEEP], ["2", "1", "0"], "1", "the next stronger one lost more"),
        ([KEEP, LOSES, KEEP, KEEP], ["2", "1"], "2", "the next stronger one lost more"),
        ([KEEP, TRIGGER, KEEP, KEEP], ["2", "1"], "2", "the next stronger one lost more"),
        ([KEEP, KEEP, FORGOT, KEEP], ["2", "3"], "3", NOTHING),
        (
            [KEEP, KEEP, replace(KEEP, accuracy_drop=0.008), KEEP],
            ["2"],
            "2",
            NOTHING,
        ),
    ],
)
def test_where_no_step_is_known_to_be_strong_it_goes_up_while_that_costs_nothing(
    seen: list[Trial],
    tried: list[str],
    kept: str,
    why: str,
    parts: tuple[Images, Images],
    clean_model: Model,
) -> None:
    made: list[str] = []
    ladder = Ladder(rungs=tuple(Rung(str(k), made) for k in range(4)), start=2, bold=True)
    auto = Laid(laid=(ladder,))
    purified, told = auto(clean_model, parts[0], seed=0, trial=lambda _: seen[int(made[-1])])
    assert purified is not None
    assert made == tried
    assert told.settings["rung"] == kept
    assert why in told.stopped_because


@dataclass(frozen=True)
class Countering(Rung):
    """One that can be told what to counter, and writes down how many triggers that are."""

    countered: int = 0

    def against(self, triggers: tuple[Trigger, ...]) -> Countering:
        count = self.countered + len(triggers)
        return replace(self, rung=f"{self.rung[0]} against {count}", countered=count)


LEFT = replace(TRIGGER, left=(mark(),))


@pytest.mark.parametrize(
    ("seen", "tried"),
    [
        ([LEFT, KEEP], ["1", "1 against 1"]),
        ([LEFT, LEFT, KEEP], ["1", "1 against 1", "1 against 2"]),
        ([LEFT] * 4 + [KEEP], ["1", "1 against 1", "1 against 2", "0 against 2", "other"]),
        ([TRIGGER, LEFT, KEEP], ["1", "0", "0 against 1"]),
        ([replace(LEFT, accuracy_lost=True), KEEP], ["1", "other"]),
        ([replace(EASY, left=LEFT.left), KEEP], ["1", "1 against 1"]),
    ],
)
def test_what_an_attempt_left_is_countered_by_the_next(
    seen: list[Trial], tried: list[str], parts: tuple[Images, Images], clean_model: Model
) -> None:
    """The same step once more, and a stronger one where that did not do."""
    made: list[str] = []
    shown = iter(seen)
    ladder = Ladder(rungs=tuple(Countering(str(k), made) for k in range(2)), start=1)
    auto = Laid(laid=(ladder, Ladder(rungs=(Rung("other", made),))))
    auto(clean_model, parts[0], seed=0, trial=lambda _: next(shown))
    assert made == tried


def test_what_cannot_be_told_what_to_counter_takes_a_stronger_step(
    parts: tuple[Images, Images], clean_model: Model
) -> None:
    made: list[str] = []
    shown = iter([LEFT, KEEP])
    ladder = Ladder(rungs=(Rung("0", made), Rung("1", made)), start=1)
    Laid(laid=(ladder,))(clean_model, parts[0], seed=0, trial=lambda _: next(shown))
    assert made == ["1", "0"]


def test_a_network_that_is_kept_for_want_of_a_better_one_is_told(
    parts: tuple[Images, Images], clean_model: Model
) -> None:
    made: list[str] = []
    ladder = Ladder(rungs=(Rung("0", made), Rung("1", made)))
    auto = Laid(laid=(ladder,))
    purified, told = auto(clean_model, parts[0], seed=0, trial=lambda _: EASY)
    assert purified is not None
    assert (
        "nothing was left to try; a class still stands out in what was kept" in told.stopped_because
    )


def test_auto_keeps_every_attempt_and_gives_nothing_that_nobody_accepts(
    parts: tuple[Images, Images], clean_model: Model
) -> None:
    made: list[str] = []
    ladder = Ladder(rungs=tuple(Rung(str(k), made) for k in range(9)))
    auto = Laid(laid=(ladder,), most_attempts=4)
    purified, told = auto(clean_model, parts[0], seed=0, trial=lambda _: FORGOT)
    assert purified is None
    assert [attempt.outcome for attempt in told.attempts] == ["refused"] * 4
    assert "no attempt met the policy" in told.stopped_because
    assert "bound of 4 attempts" in told.stopped_because


def test_auto_stops_an_attempt_that_forgets(
    parts: tuple[Images, Images], clean_model: Model
) -> None:
    hot = FTSAM(lr=50.0, rho=8.0, epochs=30, batch=64)
    auto = Laid(laid=(Ladder(rungs=(hot,)),))
    purified, told = auto(clean_model, parts[0], seed=0, trial=lambda _: KEEP)
    assert purified is None
    assert told.attempts[0].outcome == "diverged"
    assert len(told.attempts[0].history) < 30


def test_auto_divides_by_class_without_overlap(held_out: Images) -> None:
    tune, validation = Auto().divide(held_out, 7)
    assert len(tune) + len(validation) == len(held_out)
    assert validation.labels.bincount().min() >= 15
    seen = {bytes(pixels.numpy().tobytes()) for pixels in tune.pixels}
    both = [p for p in validation.pixels if bytes(p.numpy().tobytes()) in seen]
    assert len(both) <= 2  # two people may write the very same digit


@pytest.mark.parametrize("each", [4, 5])
def test_auto_keeps_one_of_two(each: int, held_out: Images) -> None:
    few = torch.cat([(held_out.labels == k).nonzero().flatten()[:each] for k in range(10)])
    fitted, validation = Auto().divide(held_out.select(few), 0)
    assert (len(fitted), len(validation)) == (10 * (each - 1), 10)
