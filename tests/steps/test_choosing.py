"""What an attempt of `auto` is told: which lines it violates, and whether a class stands out."""

from __future__ import annotations

import pytest
import torch
from conftest import CLASSES

from gatekeeper.model import Images, Model
from gatekeeper.policy import read_policy
from gatekeeper.purification import FTSAM
from gatekeeper.purification.trial import TrialOf
from gatekeeper.steps.choosing import standing_out, trial_of
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


def test_a_purified_network_carries_no_trigger(
    judge: TrialOf, backdoored: Model, held_out: Images
) -> None:
    purify = FTSAM(lr=0.1, epochs=30, batch=64, schedule="cosine")
    seen = judge(purify(backdoored, held_out.select(torch.arange(300)), seed=0)[0])
    assert not seen.trigger_left
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
