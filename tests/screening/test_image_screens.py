"""Screens that look through clean images: what they see of a backdoor, and what stops none."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import fresh_network
from torch import nn

from gatekeeper.model import Images, Model
from gatekeeper.records import InputSpec
from gatekeeper.screening import (
    IMAGE_SCREENS,
    HiddenShift,
    PairInversion,
    TriggerInversion,
    UniversalPerturbation,
)


def small(classes: int, *, seed: int = 0) -> tuple[Model, Images]:
    """An untrained network on 8x8 images, and noise to show it."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, classes))
    names = tuple(f"c{n}" for n in range(classes))
    spec = InputSpec(size=(1, 8, 8), mean=(0.5,), std=(0.5,))
    model = Model(network=network.eval(), input=spec, classes=names, architecture="test")
    pixels = torch.randint(0, 256, (16 * classes, 1, 8, 8), dtype=torch.uint8)
    labels = torch.arange(classes).repeat(16)
    return model, Images(pixels=pixels, labels=labels, classes=names)


@pytest.mark.parametrize("name", IMAGE_SCREENS)
@pytest.mark.parametrize("fill", [0.0, float("nan")])
def test_a_dead_network_gets_no_score(name: str, fill: float) -> None:
    model, images = small(5)
    for weight in model.network.parameters():
        weight.data.fill_(fill)
    result, findings = IMAGE_SCREENS[name]()(model, images)
    assert findings == []
    assert result.outcome == "undecided"
    assert result.score is None
    assert ("not finite" if fill else "the same answer") in result.message


@pytest.mark.parametrize("name", IMAGE_SCREENS)
def test_a_screen_changes_nothing_and_can_be_repeated(name: str) -> None:
    model, images = small(5)
    model.network.train()
    before = {key: tensor.clone() for key, tensor in model.network.state_dict().items()}
    first = IMAGE_SCREENS[name](seed=3)(model, images)
    assert first == IMAGE_SCREENS[name](seed=3)(model, images)
    assert model.network.training
    assert not any(module._forward_hooks for module in model.network.modules())
    assert all(torch.equal(before[key], t) for key, t in model.network.state_dict().items())


@pytest.mark.parametrize("name", IMAGE_SCREENS)
def test_classes_without_images_stop_no_screen(name: str) -> None:
    model, images = small(5)
    few = images.select(images.labels == 2)
    result, _ = IMAGE_SCREENS[name]()(model, few)
    assert result.outcome == "not-flagged"
    assert {pair.source for pair in result.pairs} <= {2}


@pytest.mark.parametrize(
    "screen", [UniversalPerturbation(), PairInversion(), HiddenShift()], ids=str
)
def test_too_many_classes_are_told_at_once(
    screen: UniversalPerturbation | PairInversion | HiddenShift,
) -> None:
    model, images = small(101)
    result, _ = screen(model, images)
    assert result.outcome == "not-run"
    assert "101 classes" in result.message


def test_a_trigger_that_is_too_small_is_flagged(backdoored: Model, held_out: Images) -> None:
    result, findings = TriggerInversion(bound=0.015)(backdoored, held_out)
    assert result.outcome == "flagged"
    assert [finding.message.split("'")[1] for finding in findings] == ["0"]
    assert len(result.by_class) == 10
    areas = [area for area in result.by_class if area is not None]
    assert result.by_class[0] == min(areas) == result.score


def test_probabilities_and_grey_images_serve(backdoored: Model, held_out: Images) -> None:
    soft = replace(
        backdoored,
        network=nn.Sequential(backdoored.clone().network, nn.Softmax(1)),
        output="probabilities",
    )
    few = held_out.select(torch.arange(100))
    result, _ = HiddenShift()(soft, few)
    assert result.outcome == "not-flagged"


def test_an_untrained_network_has_no_class_that_stands_out_far(held_out: Images) -> None:
    result, _ = PairInversion(kept=2, least=5)(fresh_network(), held_out.select(torch.arange(100)))
    assert result.outcome in ("not-flagged", "undecided")
    assert all(pair.source != pair.target for pair in result.pairs)
