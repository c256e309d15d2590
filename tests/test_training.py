"""The training loop: schedules, chance, odd batches, and what it leaves alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torchvision
from conftest import fresh_network
from torch import Tensor, nn

from gatekeeper.model import Images, Model
from gatekeeper.records import Epoch, InputSpec
from gatekeeper.training import Diverged, Recipe, fine_tune, learning_rate, logits, predictions

QUICK = Recipe(epochs=1, lr=0.05, batch=32, rho=1.0, crop_padding=2)
SMALL = InputSpec(size=(1, 4, 4), mean=(0.0,), std=(1.0,))


def weights(model: Model) -> list[Tensor]:
    return [tensor.clone() for tensor in model.network.state_dict().values()]


def alike(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def flat_network() -> Model:
    """A network whose BatchNorm sees one value of each image, so that one image is too few."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    return Model(network=network.eval(), input=SMALL, classes=("a", "b", "c"), architecture="flat")


def flat_images(count: int, labels: Tensor | None = None) -> Images:
    chance = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 1, 4, 4), dtype=torch.uint8, generator=chance)
    given = torch.arange(count) % 3 if labels is None else labels
    return Images(pixels=pixels, labels=given, classes=("a", "b", "c"))


def rates(recipe: Recipe, total: int) -> list[float]:
    return [learning_rate(recipe, step, total) for step in range(total)]


def test_the_given_model_is_left_alone_and_the_seed_is_all_the_chance(digits: Images) -> None:
    model, images = fresh_network(), digits.select(torch.arange(64))
    before = weights(model)
    torch.manual_seed(1)
    one, _ = fine_tune(model, images, QUICK, seed=5)
    torch.manual_seed(2)
    two, _ = fine_tune(model, images, QUICK, seed=5)
    other, _ = fine_tune(model, images, QUICK, seed=6)
    assert alike(before, weights(model))
    assert not model.network.training
    assert all(weight.grad is None for weight in model.network.parameters())
    assert alike(weights(one), weights(two))
    assert not alike(weights(one), weights(other))
    assert not one.network.training
    assert all(weight.grad is None for weight in one.network.parameters())


def test_the_reference_schedule_turns_round_every_100_iterations() -> None:
    recipe = Recipe(epochs=100, lr=0.01, schedule="reference")
    taken = rates(recipe, 1000)
    expected = [0.005 * (1 + math.cos(math.pi * step / 100)) for step in range(1000)]
    assert taken == pytest.approx(expected)
    assert taken[100] == pytest.approx(0.0, abs=1e-12)
    assert taken[200] == pytest.approx(0.01)
    assert taken[200:400] == pytest.approx(taken[:200])


def test_the_cosine_schedule_is_one_cycle() -> None:
    recipe = Recipe(epochs=10, lr=0.1, schedule="cosine")
    taken = rates(recipe, 40)
    assert taken == sorted(taken, reverse=True)
    assert taken[0] == 0.1
    assert taken[20] == pytest.approx(0.05)
    assert taken[39] < 0.001
    assert rates(replace(recipe, schedule="constant"), 40) == [0.1] * 40


def test_the_super_schedule_swings_high_to_forget_and_low_to_recover() -> None:
    recipe = Recipe(epochs=6, lr=0.1, lr_base=1e-4, lr_second=1e-3, cycles=3, schedule="super")
    taken = rates(recipe, 120)
    for start, peak in ((0, 0.1), (60, 1e-3)):
        for cycle in range(3):
            low, high = start + 20 * cycle, start + 20 * cycle + 10
            assert taken[low] == pytest.approx(1e-4)
            assert taken[high] == pytest.approx(peak)
            assert taken[low : high + 1] == sorted(taken[low : high + 1])


@pytest.mark.parametrize(("schedule", "period"), [("reference", 100), ("cosine", 6)])
def test_the_rate_moves_with_every_iteration(schedule: str, period: int) -> None:
    recipe = Recipe(epochs=3, lr=0.01, batch=6, schedule=schedule)  # type: ignore[arg-type]
    _, history = fine_tune(flat_network(), flat_images(12), recipe, seed=0)
    last = [0.005 * (1 + math.cos(math.pi * step / period)) for step in (1, 3, 5)]
    assert [epoch.learning_rate for epoch in history] == pytest.approx(last)


@pytest.mark.parametrize("count", [2, 31, 33, 40, 65])
def test_odd_numbers_of_images_train(count: int) -> None:
    """A batch larger than the data, a small last batch, a last batch of one image."""
    tuned, history = fine_tune(flat_network(), flat_images(count), QUICK, seed=0)
    assert math.isfinite(history[-1].loss)
    assert all(tensor.isfinite().all() for tensor in weights(tuned))
    assert not alike(weights(tuned), weights(flat_network()))


@pytest.mark.parametrize(("count", "steps"), [(32, 1), (39, 1), (40, 2), (64, 2), (65, 2), (72, 3)])
def test_a_few_images_left_over_join_the_batch_before(count: int, steps: int) -> None:
    """Told by the rate of the last step: one cosine over all steps of the epoch."""
    recipe = Recipe(epochs=1, lr=0.05, batch=32, schedule="cosine")
    _, history = fine_tune(flat_network(), flat_images(count), recipe, seed=0)
    last = 0.05 * (1 + math.cos(math.pi * (steps - 1) / steps)) / 2
    assert history[-1].learning_rate == pytest.approx(last)


def test_a_class_with_one_image_is_learnt_too() -> None:
    images = flat_images(13, torch.tensor([0] * 6 + [1] * 6 + [2]))
    recipe = Recipe(epochs=60, lr=0.2, batch=64)
    tuned, _ = fine_tune(flat_network(), images, recipe, seed=0)
    assert torch.equal(predictions(tuned, images), images.labels)


def test_the_history_tells_loss_and_validation_accuracy_of_every_epoch() -> None:
    images, heard = flat_images(48), list[Epoch]()
    recipe = Recipe(epochs=3, lr=0.05, batch=16)
    tuned, history = fine_tune(
        flat_network(), images, recipe, seed=0, validation=images, on_epoch=heard.append
    )
    assert list(history) == heard
    assert [epoch.epoch for epoch in history] == [1, 2, 3]
    assert history[-1].loss < history[0].loss
    right = (predictions(tuned, images) == images.labels).float().mean()
    assert history[-1].accuracy == pytest.approx(float(right))


def test_a_listener_may_end_the_training() -> None:
    def enough(epoch: Epoch) -> None:
        if epoch.epoch == 2:
            raise StopIteration

    model = flat_network()
    with pytest.raises(StopIteration):
        fine_tune(model, flat_images(12), replace(QUICK, epochs=9), seed=0, on_epoch=enough)
    assert alike(weights(model), weights(flat_network()))


def test_what_diverges_says_so() -> None:
    hot = Recipe(epochs=5, lr=1e30, batch=32, schedule="constant")
    model = flat_network()
    with pytest.raises(Diverged, match="loss became") as told:
        fine_tune(model, flat_images(64), hot, seed=0)
    assert "smaller learning rate" in told.value.hint
    assert alike(weights(model), weights(flat_network()))


def test_looking_puts_the_mode_back(digits: Images) -> None:
    model = fresh_network()
    model.network.train()
    answers = logits(model, digits.select(torch.arange(5)), batch=2)
    assert model.network.training
    assert answers.shape == (5, 10)
    assert logits(model, digits.select(torch.arange(0))).shape == (0, 10)
    assert torch.equal(predictions(model, digits.select(torch.arange(5))), answers.argmax(1))


def test_layers_that_draw_by_themselves_draw_by_the_seed(train_digits: Images) -> None:
    few = train_digits.select(torch.arange(64))
    plain = fresh_network()
    network = torch.nn.Sequential(plain.network, torch.nn.Dropout(0.5))
    model = replace(plain, network=network)
    recipe = Recipe(epochs=2, lr=0.1, batch=32)
    one, _ = fine_tune(model, few, recipe, seed=3)
    torch.rand(7)
    two, _ = fine_tune(model, few, recipe, seed=3)
    other, _ = fine_tune(model, few, recipe, seed=4)
    same = [
        torch.equal(a, b)
        for a, b in zip(one.network.parameters(), two.network.parameters(), strict=True)
    ]
    assert all(same)
    assert not torch.equal(next(one.network.parameters()), next(other.network.parameters()))


def test_auxiliary_heads_of_googlenet_are_left_aside() -> None:
    network = torchvision.models.googlenet(num_classes=3, init_weights=False).eval()
    spec = InputSpec(size=(3, 64, 64), mean=(0.0,) * 3, std=(1.0,) * 3)
    model = Model(network=network, input=spec, classes=("a", "b", "c"), architecture="googlenet")
    noise = torch.randint(256, (6, 3, 64, 64), dtype=torch.uint8)
    images = Images(pixels=noise, labels=torch.arange(6) % 3, classes=model.classes)
    _, history = fine_tune(model, images, Recipe(epochs=1, lr=0.01, batch=6), seed=0)
    assert history[0].loss is not None


def test_what_the_network_answered_before_can_stand_for_the_labels(
    clean_model: Model, train_digits: Images
) -> None:
    few = train_digits.select(torch.arange(200))
    wrong = replace(few, labels=(few.labels + 1) % 10)
    taught, _ = fine_tune(
        clean_model, wrong, Recipe(epochs=5, lr=0.02, batch=50, distil=1.0), seed=0
    )
    misled, _ = fine_tune(clean_model, wrong, Recipe(epochs=5, lr=0.02, batch=50), seed=0)
    own = predictions(clean_model, few)
    assert float((predictions(taught, few) == own).float().mean()) > 0.97
    assert float((predictions(misled, few) == own).float().mean()) < 0.7
