"""Masks that the candidate teaches: from one image of each class, and little is forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import fresh_network
from torch import Tensor, nn

from gatekeeper.errors import StepError
from gatekeeper.model import Images, Model
from gatekeeper.purification import FTSAM, FeatureShift, TaughtMasking, WeightMasking
from gatekeeper.purification.interface import Countering
from gatekeeper.purification.marks import Marks
from gatekeeper.purification.masks import Masks
from gatekeeper.purification.taught_masking import _Teaching
from gatekeeper.redteam import BadNets, attack_success
from gatekeeper.training import Diverged, accuracy
from gatekeeper.triggers import Trigger

NONE = Marks(triggers=(), changes=torch.empty(0, 1, 32, 32))
SHORT = TaughtMasking(rounds=2, steps=3, ascents=2, batch=16, seek=lambda: NONE)


def one_each(images: Images) -> Images:
    first = [int((images.labels == k).nonzero()[0, 0]) for k in range(len(images.classes))]
    return images.select(torch.tensor(first))


def weights(model: Model) -> dict[str, Tensor]:
    return {name: w.detach() for name, w in model.network.named_parameters()}


@pytest.mark.slow
def test_one_image_of_each_class_is_enough(
    backdoored: Model, held_out: Images, attack: BadNets
) -> None:
    unseen = held_out.select(torch.arange(100, len(held_out)))
    purified, told = TaughtMasking()(backdoored, one_each(held_out), seed=0)
    assert attack_success(backdoored, attack, unseen) > 0.9
    assert attack_success(purified, attack, unseen) <= 0.15
    assert accuracy(purified, unseen) >= accuracy(backdoored, unseen) - 0.05
    assert len(told.attempts[0].history) == 60


def test_masks_only_weaken_weights_and_labels_say_nothing(
    backdoored: Model, held_out: Images
) -> None:
    few = one_each(held_out)
    shuffled = replace(few, labels=few.labels.flip(0))
    before = weights(backdoored)
    one, two = (weights(SHORT(backdoored, images, seed=3)[0]) for images in (few, shuffled))
    assert all(torch.equal(one[name], two[name]) for name in before)
    assert all(bool((one[name].abs() <= before[name].abs()).all()) for name in before)
    assert any(not torch.equal(one[name], before[name]) for name in before)
    other = weights(SHORT(backdoored, few, seed=4)[0])
    assert any(not torch.equal(one[name], other[name]) for name in before)


def test_what_was_set_and_seen_is_told(backdoored: Model, held_out: Images) -> None:
    heard = []
    purified, told = SHORT(
        backdoored, one_each(held_out), seed=0, validation=held_out, on_epoch=heard.append
    )
    settings = told.attempts[0].settings
    assert settings["rounds"] == 2
    assert (settings["marks"], settings["images"]) == (0, 10)
    assert "seek" not in settings
    assert tuple(heard) == told.attempts[0].history
    assert heard[0].learning_rate == SHORT.lr
    last = heard[-1].accuracy
    assert last is not None
    assert last == pytest.approx(accuracy(purified, held_out), abs=0.02)


@pytest.mark.parametrize(("found", "countered"), [(True, False), (False, True), (False, False)])
def test_what_the_gate_found_is_worn_and_what_it_is_told_to_counter(
    found: bool,
    countered: bool,
    backdoored: Model,
    held_out: Images,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    change = torch.zeros(1, 1, 32, 32)
    change[..., ::2, ::2] = 1
    marks = Marks(triggers=(), changes=change) if found else NONE
    left = Trigger(
        target=0, mask=change[0, 0], pattern=change[0], area=0.25, success=1.0, reached=True
    )
    worn, answer = [], Masks.answer

    def watched(self: Masks, pixels: Tensor) -> Tensor:
        worn.append(bool((pixels[..., ::2, ::2] == 1).flatten(1).all(1).any()))
        return answer(self, pixels)

    monkeypatch.setattr(Masks, "answer", watched)
    purify = replace(SHORT, seek=lambda: marks).against((left,) if countered else ())
    _, told = purify(backdoored, one_each(held_out), seed=0)
    settings = told.attempts[0].settings
    assert settings["marks"] == found + countered
    assert settings["countered"] == countered
    assert any(worn) is (found or countered)


def test_only_taught_masks_can_be_told_what_to_counter() -> None:
    everyone = (TaughtMasking(), FTSAM(), WeightMasking(), FeatureShift())
    assert [isinstance(one, Countering) for one in everyone] == [True, False, False, False]


def test_many_classes_cost_no_more_than_fifty(held_out: Images) -> None:
    wide = nn.Sequential(nn.Flatten(), nn.Linear(1024, 300))
    classes = tuple(map(str, range(300)))
    model = replace(fresh_network(), network=wide.eval(), classes=classes, architecture="own")
    few = replace(one_each(held_out), classes=classes)
    teaching = _Teaching(SHORT, model, few, 0)
    assert len(teaching.directed) == len(teaching.classes.unique()) == 50
    purified, _ = SHORT(model, few, seed=0)
    assert weights(purified)["1.weight"].shape == (300, 1024)


def test_networks_that_it_cannot_serve_are_told(held_out: Images) -> None:
    few = one_each(held_out)
    bare = replace(fresh_network(), network=nn.Flatten(), architecture="own")
    with pytest.raises(StepError, match="no convolution and no linear layer"):
        SHORT(bare, few, seed=0)
    broken = fresh_network()
    with torch.no_grad():
        next(broken.network.parameters()).fill_(float("nan"))
    with pytest.raises(Diverged, match="the loss became nan"):
        SHORT(broken, few, seed=0)
