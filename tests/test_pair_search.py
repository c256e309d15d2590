"""A backdoor that works on one class alone shows where pairs of classes are looked at."""

from __future__ import annotations

import pytest
import torch
from conftest import fresh_network

from gatekeeper.evidence import closer_pair
from gatekeeper.inversion import invert
from gatekeeper.model import Images, Model
from gatekeeper.pair_search import careful_pairs, closest_pairs
from gatekeeper.purification.marks import _of_one_class
from gatekeeper.records import PairArea
from gatekeeper.redteam import SourceSpecific, attack_success
from gatekeeper.training import Recipe, fine_tune
from gatekeeper.triggers import hits

ATTACK = SourceSpecific(source=1, target=0)


@pytest.fixture(scope="module")
def parts(held_out: Images) -> tuple[Images, Images]:
    return held_out.select(torch.arange(360)), held_out.select(torch.arange(360, len(held_out)))


@pytest.fixture(scope="module")
def one_class(train_digits: Images) -> Model:
    recipe = Recipe(epochs=15, lr=0.1, batch=64)
    return fine_tune(fresh_network(), ATTACK.poison(train_digits, seed=0), recipe, seed=0)[0]


def test_the_pair_of_a_backdoor_comes_first(
    one_class: Model, clean_model: Model, parts: tuple[Images, Images]
) -> None:
    clean, unseen = parts
    assert attack_success(one_class, ATTACK, unseen) > 0.95
    assert closest_pairs(one_class, clean, seed=0)[0] == (1, 0)
    found = [
        invert(model, clean.select(clean.labels == 1), seed=0, classes=[0])[0]
        for model in (one_class, clean_model)
    ]
    assert found[0].area < 0.005 < 0.015 < found[1].area
    won, shown = hits(one_class, found[0], unseen.select(unseen.labels == 1))
    assert won > 0.8 * shown


def test_with_care_the_pair_of_a_backdoor_is_alone_in_being_close(
    one_class: Model, clean_model: Model, parts: tuple[Images, Images]
) -> None:
    values = []
    for model in (one_class, clean_model):
        found = careful_pairs(model, parts[0], seed=0, most=3)
        pairs = [PairArea(source=t.source or 0, target=t.target, area=t.area) for t in found]
        assert [pair.area for pair in pairs] == sorted(pair.area for pair in pairs)
        values.append(closer_pair(pairs))
    assert values[0] is not None
    assert values[1] is not None
    assert values[0][1:] == (1, 0)
    assert values[0][0] > 2 * values[1][0]


def test_sources_with_few_images_are_left_out(
    clean_model: Model, parts: tuple[Images, Images]
) -> None:
    few = parts[0].select(torch.cat([(parts[0].labels == 3).nonzero().flatten(), torch.arange(8)]))
    found = careful_pairs(clean_model, few, seed=0, most=2, least=20)
    assert {trigger.source for trigger in found} == {3}


@pytest.mark.slow
def test_its_trigger_is_a_mark(one_class: Model, parts: tuple[Images, Images]) -> None:
    found = _of_one_class(one_class, parts[0], parts[0], 0)
    assert any(trigger.target == 0 and trigger.area < 0.005 for trigger in found)


def test_the_network_is_left_alone_and_the_search_can_be_repeated(
    clean_model: Model, parts: tuple[Images, Images]
) -> None:
    model = clean_model.clone()
    model.network.train()
    first = closest_pairs(model, parts[0], seed=3, area=1.0)
    assert first == closest_pairs(model, parts[0], seed=3, area=1.0)
    assert len({target for _, target in first}) == len(first) > 5
    assert model.network.training
    before, after = clean_model.network.state_dict(), model.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(weight.grad is None for weight in model.network.parameters())


def test_a_class_without_images_is_no_source(clean_model: Model, held_out: Images) -> None:
    few = held_out.select((held_out.labels == 4) | (held_out.labels == 7))
    pairs = closest_pairs(clean_model, few, seed=0, area=1.0)
    assert {source for source, _ in pairs} == {4, 7}
    assert closest_pairs(clean_model, few.select(torch.arange(0)), seed=0) == []
