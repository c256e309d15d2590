"""The split of clean images is stratified, seeded and disjoint: its two parts never meet."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.data import split, without
from gatekeeper.model import Images


def labelled(labels: list[int], classes: int) -> Images:
    """Images that can be told apart: each holds its own number."""
    count = len(labels)
    numbers = torch.arange(count, dtype=torch.int64)
    pixels = torch.stack([numbers // 256, numbers % 256], dim=1).to(torch.uint8)
    return Images(
        pixels=pixels.view(count, 2, 1, 1),
        labels=torch.tensor(labels, dtype=torch.int64),
        classes=tuple(map(str, range(classes))),
    )


def numbers(images: Images) -> list[int]:
    high, low = images.pixels.flatten(1).to(torch.int64).unbind(1)
    return (high * 256 + low).tolist()


@settings(derandomize=True, deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=200),
    seed=st.integers(0, 2**31 - 1),
    first=st.floats(0.1, 0.9),
)
def test_the_split_is_stratified_seeded_and_disjoint(
    labels: list[int], seed: int, first: float
) -> None:
    images = labelled(labels, 5)
    left, right = split(images, seed=seed, first=first)
    assert sorted(numbers(left) + numbers(right)) == list(range(len(labels)))
    for part in (left, right):
        assert part.labels.tolist() == [labels[number] for number in numbers(part)]
    for label in range(5):
        count, mine = labels.count(label), int((left.labels == label).sum())
        assert abs(mine - first * count) <= 1
        assert count < 2 or 0 < mine < count
    again, _ = split(images, seed=seed, first=first)
    assert numbers(again) == numbers(left)


def test_another_seed_splits_otherwise() -> None:
    images = labelled([0, 1] * 50, 2)
    assert numbers(split(images, seed=0)[0]) != numbers(split(images, seed=1)[0])
    assert len(split(images, seed=0)[0]) == 40


def test_images_of_the_other_part_are_left_out(held_out: Images) -> None:
    some, all_but = held_out.select(torch.arange(30)), held_out.select(torch.arange(20, 60))
    left = without(some, all_but)
    assert len(left) == 20
    assert torch.equal(left.pixels, some.pixels[:20])
    assert len(without(some, some)) == 0
