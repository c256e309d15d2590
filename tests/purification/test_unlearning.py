"""Unlearning counters what a universal perturbation can do, and holds what the candidate knew."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from conftest import fresh_network

from gatekeeper.model import Images, Model
from gatekeeper.perturbation import moved_hits, universal
from gatekeeper.purification import Unlearning
from gatekeeper.redteam import Blended
from gatekeeper.training import Recipe, accuracy, fine_tune

ATTACK = Blended(target=0, rate=0.1)
REACH = 16 / 255


def reached(model: Model, fitted: Images, unseen: Images) -> float:
    """Share of `unseen` that one perturbation, found on `fitted`, brings to class 0."""
    wanted = torch.zeros_like(fitted.labels)
    change = universal(model, fitted, wanted, epsilon=REACH)
    others = unseen.select(unseen.labels != 0)
    return moved_hits(model, others, torch.zeros_like(others.labels), change) / len(others)


@pytest.mark.slow
def test_no_small_universal_perturbation_is_left(train_digits: Images, held_out: Images) -> None:
    """What it promises; of a trigger that moves pixels further than `reach` it promises nothing."""
    recipe = Recipe(epochs=15, lr=0.1, batch=64)
    backdoored, _ = fine_tune(fresh_network(), ATTACK.poison(train_digits, seed=0), recipe, seed=1)
    clean, unseen = held_out.select(torch.arange(360)), held_out.select(torch.arange(360, 897))
    before = reached(backdoored, clean, unseen)
    unlearnt, _ = Unlearning(reach=REACH, batch=90, epochs=20)(backdoored, clean, seed=0)
    blind, _ = Unlearning(reach=REACH, batch=90, epochs=20, counter=0.0)(backdoored, clean, seed=0)
    left = reached(unlearnt, clean, unseen)
    assert left < before / 2
    assert left < reached(blind, clean, unseen)
    assert accuracy(unlearnt, unseen) >= accuracy(backdoored, unseen) - 0.02


def test_the_settings_are_told(backdoored: Model, held_out: Images) -> None:
    purify = Unlearning(epochs=1, counter=0.5, reach=4 / 255)
    _, told = purify(backdoored, held_out.select(torch.arange(60)), seed=0)
    own = asdict(purify)
    assert {name: told.settings[name] for name in own} == own


def test_the_same_seed_gives_the_same_network(backdoored: Model, held_out: Images) -> None:
    few = held_out.select(torch.arange(60))
    one, two = (Unlearning(epochs=2, batch=30)(backdoored, few, seed=3)[0] for _ in range(2))
    pairs = zip(one.network.parameters(), two.network.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
