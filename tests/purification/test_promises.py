"""One table tests every purifier; the assertion is what it promises."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gatekeeper.model import Images, Model
from gatekeeper.policy import read_policy
from gatekeeper.purification import (
    FTSAM,
    PURIFIERS,
    FeatureShift,
    FineTune,
    Restoration,
    SuperFineTune,
    TaughtMasking,
    Unlearning,
    WeightMasking,
)
from gatekeeper.purification.auto import Auto
from gatekeeper.records import Purification
from gatekeeper.redteam import BadNets, attack_success
from gatekeeper.steps.choosing import trial_of
from gatekeeper.training import predictions

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
    "ft-sam-restore": (
        lambda m, c: Restoration(epochs=15, restore_epochs=15, batch=90)(m, c, seed=0),
        0.05,
    ),
    "awm": (lambda m, c: WeightMasking(alpha=0.99)(m, c, seed=0), 0.10),
    "awm-taught": (lambda m, c: TaughtMasking(rounds=15, steps=10)(m, c, seed=0), 0.10),
    "super-ft": (lambda m, c: SuperFineTune()(m, c, seed=0), 0.05),
    "fst": (lambda m, c: FeatureShift(lr=0.05, epochs=20, batch=64)(m, c, seed=0), 0.05),
    "unlearn": (
        lambda m, c: Unlearning(epochs=15)(m, c, seed=0),
        1.0,
    ),  # of a patch it promises nothing
    "ft": (lambda m, c: FineTune(epochs=10)(m, c, seed=0), 1.0),  # promises accuracy alone
}


LONG = {"auto", "ft-sam-restore", "awm", "awm-taught"}  # a scan takes `auto` as well


@pytest.fixture(scope="module")
def parts(held_out: Images) -> tuple[Images, Images]:
    return held_out.select(torch.arange(360)), held_out.select(torch.arange(360, len(held_out)))


def test_every_purifier_stands_in_the_table() -> None:
    assert set(PROMISES) == {"auto", *PURIFIERS}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in PROMISES],
)
def test_a_purifier_keeps_its_promise(
    name: str, backdoored: Model, parts: tuple[Images, Images], attack: BadNets
) -> None:
    clean, unseen = parts
    before = {key: tensor.clone() for key, tensor in backdoored.network.state_dict().items()}
    purify, most = PROMISES[name]
    purified, told = purify(backdoored, clean)
    assert purified is not None
    assert all(torch.equal(before[k], t) for k, t in backdoored.network.state_dict().items())
    assert accuracy(purified, unseen) >= accuracy(backdoored, unseen) - 0.02
    assert attack_success(purified, attack, unseen) <= most
    assert told.method == name
    assert told.attempts
    assert told.attempts[-1].history
