"""The search of `auto`: where it goes, what it keeps, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from gatekeeper.model import Images, Model
from gatekeeper.purification import (
    FTSAM,
)
from gatekeeper.purification.auto import Auto
from gatekeeper.purification.plan import Ladder
from gatekeeper.purification.trial import Trial
from gatekeeper.records import Attempt, Measure, Purification


@dataclass(frozen=True)
class Rung:
    """A purifier that only writes down that it was tried."""

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


@dataclass(frozen=True, kw_only=True)
class Laid(Auto):
    """Climbs the ladders that a test lays."""

    laid: tuple[Ladder, ...] = ()

    def ladders(self, model: Model, fitted: Images) -> tuple[Ladder, ...]:
        return self.laid


@pytest.fixture(scope="module")
def parts(held_out: Images) -> tuple[Images, Images]:
    return held_out.select(torch.arange(360)), held_out.select(torch.arange(360, len(held_out)))


KEEP = Trial(acceptable=True, accuracy_drop=0.0, message="kept all")
LOSES = Trial(acceptable=True, accuracy_drop=0.015, message="lost some", accuracy_lost=False)
TRIGGER = Trial(acceptable=False, accuracy_drop=0.0, message="trigger", trigger_left=True)
FORGOT = Trial(acceptable=False, accuracy_drop=0.2, message="forgot", accuracy_lost=True)
BOTH = replace(FORGOT, trigger_left=True)
BOTH_SEEN = ("clean_accuracy_drop", "smallest_trigger_area")
NOTHING = "lost next to no accuracy"
EASY = replace(KEEP, stands_out=True, message="a class stands out")


@pytest.mark.parametrize(
    ("seen", "start", "tried", "kept", "why"),
    [
        ([KEEP] * 3, 1, ["1"], "1", NOTHING),
        ([KEEP, TRIGGER, KEEP], 1, ["1", "0"], "0", NOTHING),
        ([KEEP, FORGOT, KEEP], 1, ["1", "2"], "2", NOTHING),
        ([KEEP, LOSES, TRIGGER], 1, ["1", "2"], "1", "nothing milder was better"),
        ([KEEP, LOSES, replace(LOSES, accuracy_drop=0.006)], 1, ["1", "2"], "1", "two attempts"),
        (
            [KEEP, replace(LOSES, accuracy_drop=0.019), replace(LOSES, accuracy_drop=0.006)],
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
    ladder = Ladder(method="a", rungs=tuple(Rung(str(k), made) for k in range(3)), start=start)
    other = Ladder(method="b", rungs=(Rung("other", made),))
    auto = Laid(laid=(ladder, other))
    purified, told = auto(clean_model, parts[0], seed=0, trial=lambda _: shown[made[-1]])
    assert purified is not None
    assert made == [*tried, kept]  # in the end on all the images
    assert told.settings["rung"] == kept
    assert why in told.stopped_because
    assert len(told.attempts) == len(tried) + 1


@pytest.mark.parametrize(
    ("again", "kept"),
    [(KEEP, True), (LOSES, True), (TRIGGER, False), (FORGOT, False), (EASY, False)],
)
def test_what_was_chosen_is_tuned_once_more_on_all_the_images(
    again: Trial, kept: bool, parts: tuple[Images, Images], clean_model: Model
) -> None:
    made: list[str] = []
    ladder = Ladder(method="a", rungs=(Rung("0", made),))
    auto = Laid(laid=(ladder,))

    def trial(_: Model) -> Trial:
        seen = KEEP if len(made) == 1 else again
        return replace(seen, measures={n: Measure(name=n, value=0.0) for n in BOTH_SEEN})

    purified, told = auto(clean_model, parts[0], seed=0, trial=trial)
    assert purified is not None
    first, last = told.attempts
    assert (first.settings["images"], last.settings["images"]) == (270, 360)
    assert told.settings["images"] == (360 if kept else 270)
    assert ("kept as tuned once more" in told.stopped_because) is kept
    # On images that it was tuned on, its accuracy would be too kind.
    assert set(first.measures) == set(BOTH_SEEN)
    assert set(last.measures) == {"smallest_trigger_area"}
    assert "accuracy on them says nothing" in last.message


def test_a_network_that_is_kept_for_want_of_a_better_one_is_told(
    parts: tuple[Images, Images], clean_model: Model
) -> None:
    made: list[str] = []
    ladder = Ladder(method="a", rungs=(Rung("0", made), Rung("1", made)))
    auto = Laid(laid=(ladder,))
    purified, told = auto(clean_model, parts[0], seed=0, trial=lambda _: EASY)
    assert purified is not None
    assert "a class still stands out in it; nothing was left to try" in told.stopped_because


def test_auto_keeps_every_attempt_and_gives_nothing_that_nobody_accepts(
    parts: tuple[Images, Images], clean_model: Model
) -> None:
    made: list[str] = []
    ladder = Ladder(method="a", rungs=tuple(Rung(str(k), made) for k in range(9)))
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
    auto = Laid(laid=(Ladder(method="ft-sam", rungs=(hot,)),))
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
