"""Crops shift and flips mirror, each image by itself, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gatekeeper.augmentation import augment, bend, mix


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int = 64, size: tuple[int, int, int] = (3, 6, 8)) -> Tensor:
    return torch.rand(count, *size, generator=chance(9))


def windows(image: Tensor, padding: int) -> list[Tensor]:
    """Every place that a crop may be taken from."""
    _, height, width = image.shape
    padded = F.pad(image, [padding] * 4)
    places = range(2 * padding + 1)
    return [padded[:, r : r + height, c : c + width] for r in places for c in places]


def test_asked_for_nothing_it_does_nothing() -> None:
    assert torch.equal(augment(images(), 0, False, chance()), images())


def test_about_half_of_the_images_are_mirrored_and_the_others_are_as_they_were() -> None:
    mirrored = augment(images(), 0, True, chance(1))
    same = (mirrored == images()).flatten(1).all(1)
    assert torch.equal(mirrored[~same], images()[~same].flip(3))
    assert 16 < int(same.sum()) < 48


@pytest.mark.parametrize("padding", [1, 2])
@pytest.mark.parametrize("size", [(1, 8, 8), (3, 6, 8), (3, 5, 3)])
def test_a_crop_is_a_window_of_the_image_with_a_black_border(
    padding: int, size: tuple[int, int, int]
) -> None:
    shifted = augment(images(16, size), padding, False, chance(2))
    assert shifted.shape == (16, *size)
    for image, shown in zip(images(16, size), shifted, strict=True):
        assert any(torch.equal(window, shown) for window in windows(image, padding))


def test_every_image_is_shifted_by_itself_to_every_place() -> None:
    one = images(1).expand(400, -1, -1, -1)
    shifted = augment(one, 1, False, chance(3))
    places = [int((shifted == window).flatten(1).all(1).sum()) for window in windows(one[0], 1)]
    assert sum(places) == 400
    assert min(places) > 20


def test_the_generator_is_all_the_chance() -> None:
    torch.manual_seed(1)
    once = augment(images(), 2, True, chance(4))
    torch.manual_seed(2)
    assert torch.equal(once, augment(images(), 2, True, chance(4)))
    assert not torch.equal(once, augment(images(), 2, True, chance(5)))


def test_the_images_that_were_given_are_left_alone() -> None:
    given = images()
    augment(given, 2, True, chance())
    assert torch.equal(given, images())


@pytest.mark.parametrize("count", [0, 1])
def test_few_images_keep_their_shape(count: int) -> None:
    assert augment(images(count), 2, True, chance()).shape == (count, 3, 6, 8)


def test_image_and_label_are_mixed_with_another_in_the_same_share() -> None:
    plain = torch.arange(64.0).view(-1, 1, 1, 1).expand(64, 1, 4, 4)
    labels = torch.arange(64)
    mixed, wanted = mix(plain, labels, 64, chance(3))
    assert torch.equal(mixed, mix(plain, labels, 64, chance(3))[0])
    assert mixed.shape == plain.shape
    # An image that is its label everywhere must be the mean of its mixed label.
    assert torch.allclose(mixed, (wanted @ labels.float()).view(-1, 1, 1, 1).expand_as(mixed))
    assert torch.allclose(wanted.sum(1), torch.ones(64))
    assert bool((wanted[labels, labels] > 0).all())
    assert float((mixed != plain).flatten(1).any(1).float().mean()) > 0.9


def test_a_bend_moves_pixels_smoothly_and_no_further_than_asked() -> None:
    """On an image that tells each pixel's place, the values tell where it came from."""
    size, most = 32, 2.0
    rows = torch.arange(size).float().view(1, 1, size, 1).expand(200, 1, size, size)
    for place, moved in ((rows, 2), (rows.transpose(2, 3), 3)):
        inner = (bend(place, most, chance()) - place)[:, :, 8:-8, 8:-8]
        root = inner.square().mean((1, 2, 3)).sqrt()
        assert float(root.max()) < 2 * most
        assert float(root.min()) < 0.1 < most / 4 < float(root.median())  # drawn from nothing up
        assert float(inner.diff(dim=moved).abs().max()) < most  # it never folds


def test_a_bend_keeps_a_flat_image_and_its_range() -> None:
    flat = torch.full((8, 3, 16, 20), 0.7)
    assert torch.allclose(bend(flat, 3.0, chance()), flat, atol=1e-5)
    bent = bend(images(), 2.0, chance())
    assert bent.shape == images().shape
    assert 0 <= float(bent.min()) <= float(bent.max()) <= 1
    assert torch.equal(bend(images(), 2.0, chance()), bent)  # the generator is all the chance
    assert torch.allclose(bend(images(), 0.0, chance()), images(), atol=1e-5)
