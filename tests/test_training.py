"""The training loop: schedules, chance, and what it leaves alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from conftest import fresh_network

from gatekeeper.augmentation import augment
from gatekeeper.model import Images, Model
from gatekeeper.purification import FTSAM
from gatekeeper.training import Diverged, Recipe, fine_tune, learning_rate, logits, predictions

QUICK = Recipe(epochs=1, lr=0.05, batch=32, rho=1.0, crop_padding=2)


def weights(model: Model) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in model.network.state_dict().values()]


def test_the_given_model_is_left_alone_and_the_seed_is_all_the_chance(digits: Images) -> None:
    model, images = fresh_network(), digits.select(torch.arange(96))
    before = weights(model)
    torch.manual_seed(1)
    one, _ = fine_tune(model, images, QUICK, seed=5)
    torch.manual_seed(2)
    two, _ = fine_tune(model, images, QUICK, seed=5)
    other, _ = fine_tune(model, images, QUICK, seed=6)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(weights(one), weights(two), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))
    assert not one.network.training


def test_the_reference_schedule_turns_round_every_100_steps() -> None:
    recipe = Recipe(epochs=100, lr=0.01, schedule="reference")
    rates = [learning_rate(recipe, step, 1000) for step in range(1000)]
    assert rates[0] == 0.01
    assert rates[100] == pytest.approx(0.0, abs=1e-12)
    assert rates[200] == pytest.approx(0.01)
    assert rates[50] == pytest.approx(0.005)


def test_the_cosine_schedule_is_one_cycle() -> None:
    recipe = Recipe(epochs=10, lr=0.1, schedule="cosine")
    rates = [learning_rate(recipe, step, 40) for step in range(40)]
    assert rates == sorted(rates, reverse=True)
    assert rates[20] == pytest.approx(0.05)
    assert learning_rate(replace(recipe, schedule="constant"), 39, 40) == 0.1


def test_ft_sam_has_the_settings_of_the_paper() -> None:
    told = repr(FTSAM())
    for setting in ("rho=2.0", "lr=0.01", "epochs=100", "batch=256", "label_smoothing=0.1"):
        assert setting in told
    with pytest.raises(TypeError):
        FTSAM(2.0)  # type: ignore[misc]


@pytest.mark.parametrize("count", [2, 33, 40])
def test_odd_numbers_of_images_train(count: int, digits: Images) -> None:
    tuned, history = fine_tune(fresh_network(), digits.select(torch.arange(count)), QUICK, seed=0)
    assert math.isfinite(history[-1].loss)
    assert all(tensor.isfinite().all() for tensor in weights(tuned))


def test_what_diverges_says_so(digits: Images) -> None:
    hot = Recipe(epochs=5, lr=1e9, batch=32, schedule="constant")
    with pytest.raises(Diverged, match="loss became"):
        fine_tune(fresh_network(), digits.select(torch.arange(64)), hot, seed=0)


def test_looking_puts_the_mode_back(digits: Images) -> None:
    model = fresh_network()
    model.network.train()
    answers = logits(model, digits.select(torch.arange(5)), batch=2)
    assert model.network.training
    assert answers.shape == (5, 10)
    assert logits(model, digits.select(torch.arange(0))).shape == (0, 10)
    assert torch.equal(predictions(model, digits.select(torch.arange(5))), answers.argmax(1))


def test_crops_shift_and_flips_mirror_without_changing_the_shape() -> None:
    chance = torch.Generator().manual_seed(0)
    pixels = torch.rand(64, 3, 8, 8, generator=chance)
    assert torch.equal(augment(pixels, 0, False, chance), pixels)
    mirrored = augment(pixels, 0, True, torch.Generator().manual_seed(1))
    same = (mirrored == pixels).flatten(1).all(1)
    assert torch.equal(mirrored[~same], pixels[~same].flip(3))
    assert 16 < int(same.sum()) < 48
    shifted = augment(pixels, 1, False, torch.Generator().manual_seed(2))
    assert shifted.shape == pixels.shape
    padded = torch.nn.functional.pad(pixels, [1] * 4)
    windows = {
        tuple(padded[0, :, row : row + 8, column : column + 8].flatten().tolist())
        for row in range(3)
        for column in range(3)
    }
    assert tuple(shifted[0].flatten().tolist()) in windows
