"""An all-to-all backdoor shows where images are made to leave their class, and how it maps."""

from __future__ import annotations

import pytest
import torch
from bare_victims import fully_connected
from conftest import fresh_network
from torch import nn

from gatekeeper.assessing import assess
from gatekeeper.calibration import read_calibration
from gatekeeper.model import Images, Model
from gatekeeper.policy import NEEDED
from gatekeeper.records import InputSpec, ScreenResult
from gatekeeper.redteam import AllToAll, attack_success
from gatekeeper.screening import UntargetedInversion
from gatekeeper.training import Recipe, fine_tune
from gatekeeper.untargeted import divert

ATTACK = AllToAll(classes=10, size=4, rate=0.3)


@pytest.fixture(scope="module")
def all_to_all(train_digits: Images) -> Model:
    recipe = Recipe(epochs=20, lr=0.1, batch=64)
    return fine_tune(fresh_network(), ATTACK.poison(train_digits, seed=0), recipe, seed=0)[0]


def test_the_mapping_of_an_all_to_all_backdoor_is_recovered(
    all_to_all: Model, clean_model: Model, held_out: Images
) -> None:
    assert attack_success(all_to_all, ATTACK, held_out) > 0.8
    found = divert(all_to_all, held_out, seed=0)
    honest = divert(clean_model, held_out, seed=0)
    assert found.reached
    assert found.area < 0.6 * honest.area
    right = sum(place == (k + 1) % 10 for k, place in enumerate(found.destinations))
    assert right >= 7
    places = {place for place in honest.destinations if place is not None}
    assert len(places) < 5


def test_it_can_be_repeated_and_leaves_the_network_alone(
    clean_model: Model, held_out: Images
) -> None:
    model = clean_model.clone()
    few = held_out.select(torch.arange(40))
    first, second = (divert(model, few, seed=1, steps=20) for _ in range(2))
    assert torch.equal(first.mask, second.mask)
    assert first.destinations == second.destinations
    before, after = clean_model.network.state_dict(), model.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_what_does_not_convince_is_told(clean_model: Model, held_out: Images) -> None:
    found = divert(clean_model, held_out.select(torch.arange(40)), seed=1, steps=1, starts=2)
    assert not found.reached
    assert 0 <= found.success < 0.9


def test_where_nothing_makes_images_leave_the_screen_cannot_tell() -> None:
    """Whatever lies over both, a bright image stays brighter than a dark one: half of them stay."""
    pixels = torch.cat([torch.full((30, 1, 8, 8), shade) for shade in (20, 230)])
    labels = torch.arange(60) // 30
    images = Images(pixels=pixels.to(torch.uint8), labels=labels, classes=("dark", "bright"))
    linear = nn.Linear(64, 2)
    linear.weight.data = torch.tensor([[-1.0], [1.0]]).expand(2, 64) / 64
    linear.bias.data = torch.tensor([0.5, -0.5])
    model = Model(
        network=nn.Sequential(nn.Flatten(), linear), classes=images.classes, architecture="linear",
        input=InputSpec(size=(1, 8, 8), mean=(0.0,), std=(1.0,)),
    )  # fmt: skip
    result, findings = UntargetedInversion(seed=1)(model, images)
    assert (result.score, result.outcome, findings) == (None, "undecided", [])
    seen = {name: ScreenResult(score=1.0, outcome="not-flagged") for name in NEEDED}
    told = assess({**seen, "untargeted-inversion": result}, images.classes, read_calibration())
    assert any("untargeted-inversion" in why for why in told.why_inconclusive)


def test_a_network_that_resists_is_told_from_a_search_that_went_astray(
    train_digits: Images, held_out: Images
) -> None:
    """A clean one asks for much of the image, however many images are to leave."""
    few = held_out.select(torch.arange(200))
    network = fully_connected(train_digits, 1.0)
    result, findings = UntargetedInversion(seed=1)._by_fewer(network, few)
    assert (result.score, result.outcome, findings) == (None, "not-flagged", [])
    assert "of them ask for" in result.message
    seen = {name: ScreenResult(score=1.0, outcome="not-flagged") for name in NEEDED}
    told = assess({**seen, "untargeted-inversion": result}, few.classes, read_calibration())
    assert not any("untargeted-inversion" in why for why in told.why_inconclusive)


def test_what_a_small_mask_does_to_fewer_images_is_no_resistance(
    all_to_all: Model, held_out: Images
) -> None:
    result, _ = UntargetedInversion(seed=1)._by_fewer(all_to_all, held_out)
    assert result.outcome == "undecided"
