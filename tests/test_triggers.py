"""Triggers are recovered where they are, and a large one proves nothing."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import pytest
import torch
from conftest import fresh_network
from PIL import Image
from torch import nn

from gatekeeper.inversion import SAMPLE, invert, unfitted, untried
from gatekeeper.model import Images, Model
from gatekeeper.records import InputSpec
from gatekeeper.trigger_pictures import compared, picture
from gatekeeper.triggers import Trigger, hits, stamp

NATURAL = 0.015  # share of the image, below which no class of a clean network can be forced


def small_model(channels: int, classes: int, side: int = 8) -> Model:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(channels * side * side, classes)).eval()
    spec = InputSpec(size=(channels, side, side), mean=(0.5,) * channels, std=(0.5,) * channels)
    names = tuple(str(n) for n in range(classes))
    return Model(network=network, input=spec, classes=names, architecture="small")


def noise(model: Model, count: int = 12) -> Images:
    chance = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, *model.input.size), dtype=torch.uint8, generator=chance)
    labels = torch.arange(count) % len(model.classes)
    return Images(pixels=pixels, labels=labels, classes=model.classes)


@pytest.fixture(scope="module")
def found(backdoored: Model, held_out: Images) -> list[Trigger]:
    return invert(backdoored, held_out, seed=0)


def test_the_target_class_is_far_easier_to_reach(found: list[Trigger]) -> None:
    area = {trigger.target: trigger.area for trigger in found}
    assert list(area) == list(range(10))
    assert all(trigger.reached for trigger in found)
    assert area[0] < NATURAL
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
        assert 0.9 <= trigger.success <= 1


def test_a_clean_network_has_no_small_trigger(clean_model: Model, held_out: Images) -> None:
    triggers = invert(clean_model, held_out, seed=0, steps=60, sample=48)
    assert min(trigger.area for trigger in triggers) > NATURAL


@pytest.mark.slow
def test_the_whole_search_tells_the_clean_network_from_the_backdoored_one(
    clean_model: Model, backdoored: Model, held_out: Images
) -> None:
    natural = [trigger.area for trigger in invert(clean_model, held_out, seed=1)]
    assert min(natural) > NATURAL
    planted, *others = [trigger.area for trigger in invert(backdoored, held_out, seed=1)]
    assert planted < NATURAL
    assert min(others) > 3 * planted


def test_the_search_is_a_function_of_its_seed_and_leaves_the_network_alone(
    backdoored: Model, held_out: Images
) -> None:
    before = {name: t.clone() for name, t in backdoored.network.state_dict().items()}
    one, two, other = (
        invert(backdoored, held_out, seed=seed, steps=10, sample=16, classes=[0, 1])
        for seed in (3, 3, 4)
    )
    assert all(torch.equal(a.mask, b.mask) for a, b in zip(one, two, strict=True))
    assert all(torch.equal(a.pattern, b.pattern) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one[0].mask, other[0].mask)
    assert all(torch.equal(before[n], t) for n, t in backdoored.network.state_dict().items())
    assert all(weight.requires_grad for weight in backdoored.network.parameters())
    assert all(weight.grad is None for weight in backdoored.network.parameters())


def test_a_search_that_fails_puts_the_network_back(held_out: Images) -> None:
    model = small_model(3, 4)
    model.network.train()
    with pytest.raises(RuntimeError):
        invert(model, held_out, seed=0, steps=1)
    assert all(module.training for module in model.network.modules())
    assert all(weight.requires_grad for weight in model.network.parameters())


def test_a_class_that_cannot_be_reached_is_not_reached() -> None:
    model = small_model(1, 5)
    model.network[1].weight.data[4] = 0  # type: ignore[index,operator,union-attr]
    model.network[1].bias.data[4] = -1e4  # type: ignore[index,operator,union-attr]
    easy, hard = invert(model, noise(model), seed=0, steps=30, classes=[1, 4])
    assert easy.reached
    assert not hard.reached
    assert hard.success == 0


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_broken_network_reaches_nothing_it_could_be_blamed_for(broken: float) -> None:
    model = small_model(1, 3)
    for weight in model.network.parameters():
        weight.data.fill_(broken)
    for trigger in invert(model, noise(model), seed=0, steps=3):
        assert not trigger.reached or trigger.target == 0
        assert trigger.mask.isfinite().all()


@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (3, 2), (1, 7), (3, 7)])
@pytest.mark.parametrize("chosen", [None, [1], [1, 0]])
def test_all_classes_are_searched_at_once(
    channels: int, classes: int, chosen: list[int] | None
) -> None:
    model = small_model(channels, classes)
    triggers = invert(model, noise(model), seed=0, steps=5, sample=6, classes=chosen)
    assert [trigger.target for trigger in triggers] == (chosen or list(range(classes)))
    for trigger in triggers:
        assert trigger.mask.shape == (8, 8)
        assert trigger.pattern.shape == (channels, 8, 8)


def test_fewer_images_than_the_sample_will_do() -> None:
    model = small_model(1, 3)
    assert len(invert(model, noise(model, 2), seed=0, steps=3, sample=96)) == 3


def stamped_half(channels: int = 3) -> Trigger:
    mask = torch.zeros(4, 4)
    mask[0, 0], mask[1, 1] = 1, 0.5
    pattern = torch.ones(channels, 4, 4)
    return Trigger(target=0, mask=mask, pattern=pattern, area=0.1, success=1.0, reached=True)


def test_a_stamp_replaces_where_the_mask_is_one() -> None:
    stamped = stamp(stamped_half(), torch.zeros(2, 3, 4, 4))
    assert float(stamped[:, :, 0, 0].min()) == 1
    assert float(stamped[:, :, 1, 1].max()) == 0.5
    assert float(stamped.sum()) == 2 * 3 * 1.5


def test_hits_are_counted_on_images_of_other_classes_alone() -> None:
    model = small_model(3, 3, side=4)
    model.network[1].bias.data[0] = 1e4  # type: ignore[index,operator,union-attr]
    assert hits(model, stamped_half(), noise(model, 9), batch=4) == (6, 6)
    own = noise(model, 9).select(torch.tensor([0, 3, 6]))
    assert hits(model, stamped_half(), own) == (0, 0)


def opened(content: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_a_picture_is_a_small_png(found: list[Trigger], held_out: Images) -> None:
    content = picture(found[0], held_out)
    with opened(content) as drawn:
        assert drawn.format == "PNG"
        assert drawn.width > drawn.height
    assert len(content) < 20_000


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_of_any_image_shows_it_with_its_trigger(channels: int) -> None:
    model = small_model(channels, 3, side=4)
    images = replace(noise(model), pixels=torch.zeros(12, channels, 4, 4, dtype=torch.uint8))
    with opened(picture(stamped_half(channels), images)) as drawn:
        side = drawn.height
        assert drawn.getpixel((1, 1)) == (0, 0, 0)
        assert drawn.getpixel((side + 7, 1)) == (255, 255, 255)  # mask 1
        assert drawn.getpixel((side + 7 + side // 4, side // 4 + 1)) == (128, 128, 128)  # mask 0.5


def test_the_true_trigger_is_drawn_beside_the_recovered_one_large_enough_to_see() -> None:
    model = small_model(1, 3, side=4)
    clean = replace(noise(model), pixels=torch.zeros(12, 1, 4, 4, dtype=torch.uint8))
    worn = replace(clean, pixels=torch.full((12, 1, 4, 4), 255, dtype=torch.uint8))
    with Image.open(io.BytesIO(compared(stamped_half(1), clean, worn))) as drawn:
        assert drawn.width > 1000
        side, low = drawn.width // 4, drawn.height - 10  # of the last row of an image
        corner = drawn.height - 250  # within the first pixel of each
        assert drawn.getpixel((10, low)) == (0, 0, 0)
        assert drawn.getpixel((side + 20, low)) == (255, 255, 255)  # worn
        assert drawn.getpixel((2 * side + 20, corner)) == (255, 255, 255)  # recovered
        assert drawn.getpixel((2 * side + 20, low)) == (0, 0, 0)


def test_a_picture_needs_an_image_of_another_class_no_more_than_any() -> None:
    model = small_model(3, 3, side=4)
    own = noise(model).select(torch.tensor([0, 3]))
    with opened(picture(stamped_half(), own)) as drawn:
        assert drawn.format == "PNG"


def test_a_fresh_network_is_searched_without_complaint(held_out: Images) -> None:
    (trigger,) = invert(fresh_network(), held_out, seed=0, steps=3, sample=8, classes=[2])
    assert trigger.target == 2


def test_classes_in_groups_find_what_all_at_once_find(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model(3, 5)
    whole = invert(model, noise(model), seed=0, steps=5)
    monkeypatch.setattr("gatekeeper.mask_search.LEARNT_AT_ONCE", 1)
    monkeypatch.setattr("gatekeeper.inversion.TRIED_AT_ONCE", 1)
    apart = invert(model, noise(model), seed=0, steps=5)
    for one, other in zip(whole, apart, strict=True):
        assert one.reached == other.reached
        torch.testing.assert_close(one.mask, other.mask, atol=1e-3, rtol=1e-3)


def test_success_is_told_of_images_that_no_trigger_was_fitted_on(held_out: Images) -> None:
    rest = unfitted(held_out, seed=3)
    assert len(rest) == len(held_out) - SAMPLE
    order = torch.randperm(len(held_out), generator=torch.Generator().manual_seed(3))
    fitted = {held_out.pixels[place].numpy().tobytes() for place in order[:SAMPLE].tolist()}
    assert sum(image.numpy().tobytes() in fitted for image in rest.pixels) < 5  # a few are alike


def test_many_classes_are_looked_at_coarsely_and_the_closest_with_care(
    backdoored: Model, held_out: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the bounds moved to ten classes, the target's trigger is the one of a whole search."""
    few = held_out.select(torch.arange(100))
    whole = invert(backdoored, few, seed=0, steps=60, classes=[0])[0]
    monkeypatch.setattr("gatekeeper.inversion._MANY", 5)
    monkeypatch.setattr("gatekeeper.inversion._FOLLOWED", 4)
    monkeypatch.setattr("gatekeeper.inversion._AT_ONCE", 3)
    heard: list[tuple[int, int]] = []
    found = invert(backdoored, few, seed=0, steps=60, on_classes=lambda *told: heard.append(told))
    assert heard == [(3, 10), (6, 10), (9, 10), (10, 10)]
    assert [trigger.target for trigger in found] == [*range(10)]
    smallest = min((t for t in found if t.reached), key=lambda trigger: trigger.area)
    assert smallest.target == 0
    assert smallest.area < 2 * whole.area


def test_what_would_take_days_is_told_and_not_begun() -> None:
    spec = InputSpec(size=(3, 224, 224), mean=(0.5,) * 3, std=(0.5,) * 3)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3, 3))
    for count, told in ((10, False), (1000, True)):
        names = tuple(map(str, range(count)))
        model = Model(network=network, input=spec, classes=names, architecture="test")
        assert (untried(model) is not None) == told
