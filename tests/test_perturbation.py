"""One change for all images, class by class: within bounds, repeatable, and telling."""

from __future__ import annotations

import pytest
import torch
from conftest import fresh_network

from gatekeeper.model import Images, Model
from gatekeeper.perturbation import EPSILON, moved_hits, universal_by_class
from gatekeeper.purification.marks import _changes
from gatekeeper.redteam import LowFrequency, attack_success
from gatekeeper.training import Recipe, fine_tune

ATTACK = LowFrequency(target=3, strength=32.0)


@pytest.fixture(scope="module")
def clouded(train_digits: Images) -> Model:
    """A network with a trigger over the whole image."""
    recipe = Recipe(epochs=15, lr=0.1, batch=64)
    return fine_tune(fresh_network(), ATTACK.poison(train_digits, seed=0), recipe, seed=0)[0]


@pytest.fixture(scope="module")
def clean(held_out: Images) -> Images:
    return held_out.select(torch.arange(360))


def test_a_trigger_over_the_whole_image_is_a_mark(clouded: Model, clean: Images) -> None:
    assert attack_success(clouded, ATTACK, clean) > 0.9
    changes, obeyed = universal_by_class(clouded, clean, seed=0)
    assert int(obeyed.argmax()) == ATTACK.target
    assert changes.shape == (10, 1, 32, 32)
    assert float(changes.abs().max()) <= EPSILON + 1e-6
    others = clean.select(clean.labels != 3)
    wanted = torch.full_like(others.labels, 3)
    told = moved_hits(clouded, others, wanted, changes[3:4]) / len(others)
    assert told == pytest.approx(float(obeyed[3]))
    assert torch.equal(_changes(clouded, clean, 0), changes[3:4])


def test_it_can_be_repeated_and_leaves_the_network_alone(clean_model: Model, clean: Images) -> None:
    model = clean_model.clone()
    model.network.train()
    first = universal_by_class(model, clean, seed=1, steps=5)
    again = universal_by_class(model, clean, seed=1, steps=5)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert model.network.training
    assert all(weight.grad is None for weight in model.network.parameters())
