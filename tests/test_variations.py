"""Variations are images, drawn by a seed, unlike one another and unlike what they come from."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.variations import vary


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int) -> torch.Tensor:
    return torch.randint(256, shape, generator=chance(seed), dtype=torch.uint8)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    given_=st.integers(1, 5), count=st.integers(1, 70), channels=st.sampled_from([1, 3, 4]),
    height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 99),
)  # fmt: skip
def test_they_are_images(
    given_: int, count: int, channels: int, height: int, width: int, seed: int
) -> None:
    pixels = noise(given_, channels, height, width, seed=seed)
    before = pixels.clone()
    varied = vary(pixels, count, chance(seed))
    assert varied.shape == (count, channels, height, width)
    assert 0 <= float(varied.min()) <= float(varied.max()) <= 1
    assert torch.equal(pixels, before)


def test_a_seed_draws_the_same_again() -> None:
    pixels = noise(3, 3, 16, 16, seed=1)
    assert torch.equal(vary(pixels, 50, chance(5)), vary(pixels, 50, chance(5)))
    assert not torch.equal(vary(pixels, 50, chance(5)), vary(pixels, 50, chance(6)))


def test_no_two_are_alike() -> None:
    pixels = noise(2, 3, 16, 16, seed=1)
    varied = vary(pixels, 100, chance(2)).flatten(1)
    apart = torch.cdist(varied, varied) + torch.eye(100)
    assert float(apart.min()) > 0.01


@pytest.mark.parametrize("value", [0, 100, 255])
def test_of_an_even_image_only_brightness_varies(value: int) -> None:
    varied = vary(torch.full((1, 1, 12, 12), value, dtype=torch.uint8), 40, chance())
    flat = varied.flatten(1)
    assert torch.allclose(flat, flat[:, :1].expand_as(flat), atol=1e-5)
    assert flat[:, 0].unique().numel() > 10
