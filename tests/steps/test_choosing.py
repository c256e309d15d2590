"""What an attempt of `auto` is told: which lines it violates, and whether a class stands out."""

from __future__ import annotations

import pytest
import torch
from conftest import CLASSES

from gatekeeper.model import Images, Model
from gatekeeper.policy import Bound, read_policy
from gatekeeper.purification import FTSAM
from gatekeeper.purification.trial import TrialOf
from gatekeeper.records import Measure
from gatekeeper.steps import choosing
from gatekeeper.steps.choosing import _shown, trial_of
from gatekeeper.steps.judging import judged, standing_out, violates
from gatekeeper.training import predictions
from gatekeeper.triggers import Trigger
from gatekeeper.verification import Observation


def trigger(target: int, area: float, *, reached: bool = True) -> Trigger:
    return Trigger(
        target=target, area=area, success=0.97 if reached else 0.2, reached=reached,
        mask=torch.zeros(32, 32), pattern=torch.zeros(1, 32, 32),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("areas", "named"),
    [
        ([0.04, 0.05, 0.06, 0.05, 0.05, 0.06, 0.04, 0.05, 0.06, 0.05], ""),
        ([0.04, 0.01, 0.06, 0.05, 0.05, 0.06, 0.04, 0.05, 0.06, 0.05], "class 1 still stands out"),
        ([0.04, 0.0, 0.06, 0.05, 0.05, 0.06, 0.04, 0.05, 0.06, 0.05], "class 1 still stands out"),
        ([0.04, 0.03, 0.06, 0.05, 0.05, 0.06, 0.04, 0.05, 0.06, 0.05], ""),
        ([0.1, 0.02, 0.05, 0.2, 0.04, 0.3, 0.1, 0.05, 0.03, 0.2], ""),  # they differ by nature
        ([0.001, 0.05, 0.06], ""),  # too few classes for a median that means something
        ([], ""),
    ],
)
def test_a_class_far_easier_than_the_median_one_stands_out(areas: list[float], named: str) -> None:
    found = tuple(trigger(k, area) for k, area in enumerate(areas))
    observed = Observation(predictions=torch.zeros(1), triggers=found)
    told = standing_out(observed, CLASSES)
    assert told.startswith(named)
    assert bool(told) == bool(named)


def test_a_class_that_was_not_reached_does_not_count() -> None:
    found = (trigger(0, 0.001, reached=False), *(trigger(k, 0.05 + k / 1000) for k in range(1, 10)))
    assert standing_out(Observation(predictions=torch.zeros(1), triggers=found), CLASSES) == ""


@pytest.fixture(scope="module")
def judge(backdoored: Model, held_out: Images) -> TrialOf:
    policy = read_policy("default")
    area = policy.require["smallest_trigger_area"].at_least
    assert area is not None
    return trial_of(
        backdoored, held_out.select(torch.arange(300, 500)), policy.require, trigger_area=area,
        min_samples_per_class=policy.min_samples_per_class, seed=0,
    )  # fmt: skip


def test_the_candidate_itself_still_carries_its_trigger(judge: TrialOf, backdoored: Model) -> None:
    seen = judge(backdoored)
    assert not seen.acceptable
    assert seen.trigger_left
    assert not seen.accuracy_lost
    assert seen.stands_out
    assert "class 0 still stands out" in seen.message
    assert {trigger.target for trigger in seen.left} == {0}


def test_what_is_left_is_what_works_or_is_too_small_or_stands_out(
    judge: TrialOf, backdoored: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The candidate itself, as a search sees it that finds what `areas` say."""
    working = {t.area for t in judge(backdoored).left if t.mask.any()}

    def left(areas: list[float]) -> set[tuple[int, bool]]:
        found = tuple(trigger(k, area) for k, area in enumerate(areas))
        monkeypatch.setattr(choosing, "observe", lambda model, images, **_: Observation(
            predictions=predictions(model, images), triggers=found
        ))  # fmt: skip
        return {(t.target, bool(t.mask.any())) for t in judge(backdoored).left}

    assert working
    assert left([0.05] * 10) == {(0, True)}  # only what the candidate obeys
    assert left([0.05] * 3 + [0.012, 0.013] + [0.05] * 5) == {(0, True), (3, False), (4, False)}
    assert left([0.3] * 3 + [0.02] + [0.3] * 6) == {(0, True), (3, False)}  # far easier


def test_a_purified_network_carries_no_trigger(
    judge: TrialOf, backdoored: Model, held_out: Images
) -> None:
    purify = FTSAM(lr=0.1, epochs=30, batch=64, schedule="cosine")
    seen = judge(purify(backdoored, held_out.select(torch.arange(300)), seed=0)[0])
    assert not seen.trigger_left
    assert not seen.left
    assert seen.measures["smallest_trigger_area"].value
    assert seen.accuracy_drop <= 0.03


def test_a_network_that_forgot_is_refused_for_its_accuracy(
    judge: TrialOf, backdoored: Model
) -> None:
    broken = backdoored.clone()
    *_, head = broken.network.parameters()
    with torch.no_grad():
        head.sub_(1000 * torch.nn.functional.one_hot(torch.tensor(3), 10))  # never says 3
    seen = judge(broken)
    assert not seen.acceptable
    assert seen.accuracy_lost
    assert "smallest_trigger_area" not in seen.measures  # it is refused whatever that is
    assert seen.left == ()


@pytest.mark.parametrize(
    ("value", "low", "high", "most", "violated"),
    [
        (0.01, -0.02, 0.04, 0.02, False),
        (0.03, 0.01, 0.05, 0.02, False),  # over it by one standard error of 0.01
        (0.031, 0.011, 0.051, 0.02, True),
        (0.03, 0.029, 0.031, 0.02, True),  # known too closely for chance
        (0.2, -0.6, 1.0, 0.02, True),  # a handful of images excuses nothing
    ],
)
def test_a_loss_of_accuracy_that_chance_may_have_done_is_not_held_against_an_attempt(
    value: float, low: float, high: float, most: float, violated: bool
) -> None:
    drop = Measure(name="clean_accuracy_drop", value=value, low=low, high=high, n=100)
    bound = Bound(at_most=most)
    assert violates(drop, bound) is violated
    other = Measure(name="clean_accuracy", value=0.79, low=0.7, high=0.9, n=100)
    assert violates(other, Bound(at_least=0.8))  # this one has no slack
    told = judged({"clean_accuracy_drop": drop, "clean_accuracy": other}, {drop.name: bound}, "", 6)
    assert told.acceptable is not violated
    assert told.by_chance is (not violated and value > most)
    assert "each in 6 views" in told.message
    assert ("chance may have done: clean_accuracy_drop 3 %" in told.message) is told.by_chance


@pytest.mark.slow
def test_the_loss_of_accuracy_is_asked_for_in_the_views_that_the_candidate_knows(
    clean_model: Model, held_out: Images
) -> None:
    """Its halves mirror each other, so it knows the mirror; a network that does not has lost."""
    sides = held_out.select(torch.arange(100))
    pixels = torch.maximum(sides.pixels, sides.pixels.flip(3))
    same = Images(pixels=pixels, labels=sides.labels, classes=sides.classes)
    policy = read_policy("default")
    told = trial_of(
        clean_model, same, policy.require, trigger_area=0.015, min_samples_per_class=20, seed=0
    )(clean_model)
    drop = told.measures["clean_accuracy_drop"]
    assert drop.value == 0.0
    assert drop.low is not None
    assert drop.low < 0
    assert "views that the candidate knows" in drop.note


def test_variations_stand_in_for_images_where_those_are_a_handful(
    clean_model: Model, held_out: Images
) -> None:
    assert _shown(clean_model, held_out, 0) is held_out
    rare = held_out.select((held_out.labels != 3) | (torch.arange(len(held_out)) < 30))
    assert _shown(clean_model, rare, 0) is rare
    shown = _shown(clean_model, held_out.select(torch.arange(20)), 0)
    assert len(shown) > 100
    assert torch.equal(shown.labels, predictions(clean_model, shown))
    assert shown.labels.unique().numel() > 2


@pytest.mark.slow
def test_with_a_handful_of_images_triggers_are_tried_on_variations_of_them(
    clean_model: Model, backdoored: Model, held_out: Images
) -> None:
    """Ten images alone: every class of a clean network has a trigger that is small on them."""
    first = [int((held_out.labels == k).nonzero()[0, 0]) for k in range(10)]
    few = held_out.select(torch.tensor(first))
    policy = read_policy("one-shot")
    area = policy.require["smallest_trigger_area"].at_least
    assert area is not None
    clean, planted = (
        trial_of(
            candidate, few, policy.require, trigger_area=area, min_samples_per_class=10, seed=0
        )(candidate)
        for candidate in (clean_model, backdoored)
    )
    assert (clean.trigger_left, planted.trigger_left) == (False, True)
    assert clean.measures["recovered_trigger_success"].n > 100
    assert clean.measures["clean_accuracy"].n == 10
