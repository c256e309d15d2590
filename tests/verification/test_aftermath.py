"""Sequela and durability: each number moves as its name says, on networks of known truth."""

from __future__ import annotations

import pytest
import torch
from conftest import fresh_network

from gatekeeper.errors import StepError
from gatekeeper.model import Images, Model
from gatekeeper.perturbation import mislead, moved_hits, robust_hits, universal
from gatekeeper.redteam import BadNets
from gatekeeper.training import Recipe, accuracy, fine_tune
from gatekeeper.verification.durability import (
    Suspects,
    along_the_path,
    obeyed,
    reactivated,
    retuned,
)
from gatekeeper.verification.sequela import adversarial_accuracy, membership, reinjection


@pytest.fixture(scope="module")
def suspects(attack: BadNets, held_out: Images) -> Suspects:
    shown = attack.triggered(held_out.select(torch.arange(200)))
    return Suspects(images=shown, wanted=attack.wanted(shown.labels))


def test_a_network_that_learnt_by_heart_gives_its_members_away(train_digits: Images) -> None:
    members, others = (train_digits.select(torch.arange(k, k + 100)) for k in (0, 100))
    guessing = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    noisy = Images(pixels=members.pixels, labels=members.labels[guessing], classes=members.classes)
    learnt, _ = fine_tune(fresh_network(), noisy, Recipe(epochs=60, lr=0.05, batch=25), seed=0)
    auc, balanced = membership(learnt, noisy, others)
    assert auc.value is not None
    assert auc.low is not None
    assert auc.low > 0.6
    assert balanced.value is not None
    assert balanced.value > 0.6


def test_a_fresh_network_gives_nobody_away(train_digits: Images) -> None:
    members, others = (train_digits.select(torch.arange(k, k + 300)) for k in (0, 300))
    auc, balanced = membership(fresh_network(), members, others)
    for measure in (auc, balanced):
        assert measure.low is not None
        assert measure.high is not None
        assert measure.low < 0.5 < measure.high


def test_a_patch_goes_in_where_steps_are_taken(clean_model: Model, held_out: Images) -> None:
    clean, unseen = held_out.select(torch.arange(400)), held_out.select(torch.arange(400, 800))
    before = {name: tensor.clone() for name, tensor in clean_model.network.state_dict().items()}
    measure = reinjection(clean_model, clean, unseen, seed=0)
    assert measure.value is not None
    assert 0 <= measure.value <= 1
    assert measure.n == int((unseen.labels != 0).sum())
    after = clean_model.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_patch_that_diverges_while_it_goes_in_is_not_measured(
    clean_model: Model, held_out: Images
) -> None:
    model = clean_model.clone()
    for weight in model.network.parameters():
        weight.data.mul_(1e20)
    few = held_out.select(torch.arange(40))
    measure = reinjection(model, few, few, seed=0)
    assert measure.value is None
    assert "the loss became" in measure.note


def test_small_changes_stay_small_and_cost_accuracy(clean_model: Model, held_out: Images) -> None:
    few = held_out.select(torch.arange(60))
    view = clean_model.pixels_to_logits().eval()
    moved = mislead(view, few, epsilon=8 / 255, steps=5)
    assert float((moved - few.floats()).abs().max()) <= 8 / 255 + 1e-6
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 1
    assert robust_hits(clean_model, few, steps=5) <= round(60 * accuracy(clean_model, few))
    measure = adversarial_accuracy(clean_model, few)
    assert measure.n == 60


def test_one_change_for_all_brings_some_over(clean_model: Model, held_out: Images) -> None:
    few = held_out.select(torch.arange(120))
    wanted = torch.full_like(few.labels, 8)
    change = universal(clean_model, few, wanted, epsilon=0.3)
    assert float(change.abs().max()) <= 0.3 + 1e-6
    still = moved_hits(clean_model, few, wanted, torch.zeros_like(change))
    assert moved_hits(clean_model, few, wanted, change) > still + 10


def test_suspects_obey_the_backdoored_network_and_not_the_clean_one(
    backdoored: Model, clean_model: Model, suspects: Suspects
) -> None:
    assert (obeyed(backdoored, suspects).value or 0) > 0.95
    assert (obeyed(clean_model, suspects).value or 0) < 0.1
    assert (reactivated(backdoored, suspects).value or 0) > 0.95


def test_the_path_between_two_networks_is_walked(
    backdoored: Model, clean_model: Model, suspects: Suspects
) -> None:
    same = along_the_path(backdoored, backdoored, suspects)
    assert (same.value or 0) > 0.95
    assert "17%" in same.note
    other = along_the_path(clean_model, clean_model, suspects)
    assert (other.value or 0) < 0.1


def test_retuning_counts_on_images_it_did_not_tune_on(
    backdoored: Model, clean_model: Model, suspects: Suspects, train_digits: Images
) -> None:
    clean = train_digits.select(torch.arange(100))
    awake = retuned(backdoored, clean, suspects, seed=0)
    asleep = retuned(clean_model, clean, suspects, seed=0)
    assert awake.n == len(suspects.images) // 2
    assert (awake.value or 0) > (asleep.value or 0)


def test_a_handful_of_suspects_is_too_few(backdoored: Model, suspects: Suspects) -> None:
    few = Suspects(images=suspects.images.select(torch.arange(9)), wanted=suspects.wanted[:9])
    with pytest.raises(StepError, match="9 suspect images are too few"):
        reactivated(backdoored, few)
