"""Triggers are recovered where they are, and a large one proves nothing."""

from __future__ import annotations

import base64
import io

import pytest
import torch
from conftest import fresh_network
from PIL import Image

from gatekeeper.model import Images, Model
from gatekeeper.trigger_pictures import picture
from gatekeeper.triggers import Trigger, hits, invert, stamp


@pytest.fixture(scope="module")
def found(backdoored: Model, held_out: Images) -> list[Trigger]:
    return invert(backdoored, held_out, seed=0)


def test_the_target_class_is_far_easier_to_reach(found: list[Trigger]) -> None:
    area = {trigger.target: trigger.area for trigger in found}
    assert all(trigger.reached for trigger in found)
    assert area[0] < 0.015
    assert all(area[other] > 2 * area[0] for other in area if other != 0)


def test_a_recovered_trigger_works_on_images_it_never_saw(
    found: list[Trigger], backdoored: Model, held_out: Images
) -> None:
    won, shown = hits(backdoored, found[0], held_out)
    assert won / shown > 0.85
    assert shown == int((held_out.labels != 0).sum())


def test_masks_and_patterns_are_images(found: list[Trigger]) -> None:
    for trigger in found:
        assert trigger.mask.shape == (32, 32)
        assert trigger.pattern.shape == (1, 32, 32)
        for part in (trigger.mask, trigger.pattern):
            assert 0 <= float(part.min()) <= float(part.max()) <= 1
        assert trigger.area == pytest.approx(float(trigger.mask.mean()))


def test_a_clean_network_has_no_small_trigger(clean_model: Model, held_out: Images) -> None:
    smallest = min(trigger.area for trigger in invert(clean_model, held_out, seed=0))
    assert smallest > 0.015


def test_the_search_is_a_function_of_its_seed_and_leaves_the_network_alone(
    backdoored: Model, held_out: Images
) -> None:
    before = {name: t.clone() for name, t in backdoored.network.state_dict().items()}
    one, two = (invert(backdoored, held_out, seed=3, steps=20, sample=32) for _ in range(2))
    assert all(torch.equal(a.mask, b.mask) for a, b in zip(one, two, strict=True))
    assert all(torch.equal(before[n], t) for n, t in backdoored.network.state_dict().items())
    assert all(weight.requires_grad for weight in backdoored.network.parameters())


def test_a_class_that_cannot_be_reached_is_not_reached(held_out: Images) -> None:
    model = fresh_network()
    head = model.network.head
    head.weight.data[4] = 0  # type: ignore[union-attr,index]
    head.bias.data[4] = -1e4  # type: ignore[union-attr,index,operator]
    (trigger,) = invert(model, held_out, seed=0, steps=20, sample=32, classes=[4])
    assert not trigger.reached


def test_a_stamp_replaces_where_the_mask_is_one() -> None:
    mask = torch.zeros(4, 4)
    mask[0, 0] = 1
    mask[1, 1] = 0.5
    trigger = Trigger(
        target=0, mask=mask, pattern=torch.ones(3, 4, 4), area=0.1, success=1.0, reached=True
    )
    stamped = stamp(trigger, torch.zeros(2, 3, 4, 4))
    assert float(stamped[:, :, 0, 0].min()) == 1
    assert float(stamped[:, :, 1, 1].max()) == 0.5
    assert float(stamped.sum()) == 2 * 3 * 1.5


def test_a_picture_is_a_small_png(found: list[Trigger], held_out: Images) -> None:
    content = base64.b64decode(picture(found[0], held_out))
    with Image.open(io.BytesIO(content)) as opened:
        assert opened.format == "PNG"
        assert opened.width > opened.height
    assert len(content) < 20_000
