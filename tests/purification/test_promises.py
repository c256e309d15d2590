"""One table tests every purifier; the assertion is what it promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import pytest
import torch
from conftest import fresh_network

from gatekeeper.model import Images, Model
from gatekeeper.policy import read_policy
from gatekeeper.purification import (
    FTSAM,
    PURIFIERS,
    FeatureShift,
    FineTune,
    SuperFineTune,
    Unlearning,
    WeightMasking,
)
from gatekeeper.purification.auto import Auto, Trial
from gatekeeper.purification.plan import Ladder, knows_mirrored, plan
from gatekeeper.records import Attempt, Purification
from gatekeeper.redteam import BadNets, attack_success
from gatekeeper.steps.choosing import trial_of
from gatekeeper.training import predictions


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
            method="scripted", settings={"rung": self.rung}, seconds=0.0, outcome="accepted",
            message="",
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


Purify = Callable[[Model, Images], tuple[Model | None, Purification]]


def accuracy(model: Model, images: Images) -> float:
    return float((predictions(model, images) == images.labels).float().mean())


def auto(model: Model, clean: Images) -> tuple[Model | None, Purification]:
    """As a scan calls it: the default policy, on images kept from tuning."""
    _, validation = Auto().divide(clean, 0)
    policy = read_policy("default")
    area = policy.require["smallest_trigger_area"].at_least
    assert area is not None
    trial = trial_of(
        model, validation, policy.require, trigger_area=area,
        min_samples_per_class=policy.min_samples_per_class, seed=0,
    )  # fmt: skip
    return Auto()(model, clean, seed=0, trial=trial)


PROMISES: dict[str, tuple[Purify, float]] = {
    # name: how it is called, and the largest true attack success that it may leave
    "auto": (auto, 0.05),
    "ft-sam": (
        lambda m, c: FTSAM(lr=0.1, epochs=30, batch=64, schedule="cosine")(m, c, seed=0),
        0.05,
    ),
    "awm": (lambda m, c: WeightMasking(alpha=0.99)(m, c, seed=0), 0.10),
    "super-ft": (lambda m, c: SuperFineTune()(m, c, seed=0), 0.05),
    "fst": (lambda m, c: FeatureShift(lr=0.05, epochs=20)(m, c, seed=0), 0.05),
    "unlearn": (lambda m, c: Unlearning()(m, c, seed=0), 1.0),  # of a patch it promises nothing
    "ft": (lambda m, c: FineTune(epochs=10)(m, c, seed=0), 1.0),  # promises accuracy alone
}


@pytest.fixture(scope="module")
def parts(held_out: Images) -> tuple[Images, Images]:
    return held_out.select(torch.arange(360)), held_out.select(torch.arange(360, len(held_out)))


def test_every_purifier_stands_in_the_table() -> None:
    assert set(PROMISES) == {"auto", *PURIFIERS}


@pytest.mark.parametrize("name", PROMISES)
def test_a_purifier_keeps_its_promise(
    name: str, backdoored: Model, parts: tuple[Images, Images], attack: BadNets
) -> None:
    clean, unseen = parts
    before = {key: tensor.clone() for key, tensor in backdoored.network.state_dict().items()}
    purify, most = PROMISES[name]
    may_lose = 0.06 if name == "super-ft" else 0.03  # its swings are wide
    purified, told = purify(backdoored, clean)
    assert purified is not None
    assert all(torch.equal(before[k], t) for k, t in backdoored.network.state_dict().items())
    assert accuracy(purified, unseen) >= accuracy(backdoored, unseen) - may_lose
    assert attack_success(purified, attack, unseen) <= most
    assert told.method == name
    assert told.attempts
    assert told.attempts[-1].history


KEEP = Trial(acceptable=True, accuracy_drop=0.0, message="kept all")
LOSES = Trial(acceptable=True, accuracy_drop=0.015, message="lost some", accuracy_lost=False)
TRIGGER = Trial(acceptable=False, accuracy_drop=0.0, message="trigger", trigger_left=True)
FORGOT = Trial(acceptable=False, accuracy_drop=0.2, message="forgot", accuracy_lost=True)
BOTH = replace(FORGOT, trigger_left=True)
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
    assert made == tried
    assert told.settings["rung"] == kept
    assert why in told.stopped_because
    assert len(told.attempts) == len(tried)


def test_a_network_that_is_kept_for_want_of_a_better_one_is_told(
    parts: tuple[Images, Images], clean_model: Model
) -> None:
    made: list[str] = []
    ladder = Ladder(method="a", rungs=(Rung("0", made), Rung("1", made)))
    auto = Laid(laid=(ladder,))
    purified, told = auto(clean_model, parts[0], seed=0, trial=lambda _: EASY)
    assert purified is not None
    assert "a class still stands out in it; nothing was left to try" in told.stopped_because


def test_mirrored_images_serve_where_the_candidate_knows_them(
    parts: tuple[Images, Images], clean_model: Model
) -> None:
    assert not knows_mirrored(clean_model, parts[0])  # digits: a mirrored 2 is none
    same = replace(parts[0], pixels=(parts[0].pixels + parts[0].pixels.flip(3)) // 2)
    assert knows_mirrored(clean_model, same)
    assert plan(clean_model, same)[0].rungs[0].flip  # type: ignore[attr-defined]


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


def test_the_ladder_is_gentle_where_no_normalisation_follows(parts: tuple[Images, Images]) -> None:
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32 * 32, 10))
    bare = replace(fresh_network(), network=linear)
    ladders = [plan(model, parts[0])[0] for model in (fresh_network(), bare)]
    assert {ladder.method for ladder in ladders} == {"ft-sam"}
    normed, without = [[asdict(rung) for rung in ladder.rungs] for ladder in ladders]  # type: ignore[call-overload]
    pairs = list(zip(normed, without, strict=False))
    assert all(gentle["rho"] < hot["rho"] and gentle["lr"] <= hot["lr"] for hot, gentle in pairs)
    assert all(rung["clip"] > 0 for rung in without)


@pytest.mark.parametrize("images", [90, 101, 150, 270, 645, 750, 2000])
def test_no_batch_of_the_ladder_leaves_a_few_images_over(images: int, held_out: Images) -> None:
    """Statistics of two images are chance, and a hot step by them undoes the good ones."""
    many = held_out.select(torch.arange(images) % len(held_out))
    rung = plan(fresh_network(), many)[0].rungs[0]
    assert isinstance(rung, FTSAM)
    left = images % rung.batch or rung.batch
    assert left >= rung.batch // 2


def test_with_one_image_a_class_only_masks_are_tried(held_out: Images) -> None:
    first = torch.stack([(held_out.labels == k).nonzero()[0, 0] for k in range(10)])
    one_each = held_out.select(first)
    assert [ladder.method for ladder in plan(fresh_network(), one_each)] == ["awm"]
    fitted, validation = Auto().divide(one_each, 0)
    assert fitted is validation is one_each


@pytest.mark.parametrize("each", [4, 5])
def test_auto_keeps_one_of_two(each: int, held_out: Images) -> None:
    few = torch.cat([(held_out.labels == k).nonzero().flatten()[:each] for k in range(10)])
    fitted, validation = Auto().divide(held_out.select(few), 0)
    assert (len(fitted), len(validation)) == (10 * (each - 1), 10)
