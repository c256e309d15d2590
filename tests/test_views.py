"""Views of an image are what they say, and asking in all of them tells accuracy more closely."""

from __future__ import annotations

import pytest
import torch

from gatekeeper.model import Images, Model
from gatekeeper.training import Recipe, accuracy, fine_tune, predictions
from gatekeeper.views import MIRRORED, PLAIN, View, _views, known_views, knows, rightness


@pytest.fixture(scope="module")
def cropped(clean_model: Model, train_digits: Images) -> Model:
    """A network that knows shifted digits."""
    recipe = Recipe(epochs=6, lr=0.05, batch=64, crop_padding=2)
    return fine_tune(clean_model, train_digits, recipe, seed=0)[0]


def test_a_view_shifts_and_mirrors_and_leaves_black_behind() -> None:
    pixels = torch.arange(1, 10, dtype=torch.uint8).view(1, 1, 3, 3)
    images = Images(pixels=pixels, labels=torch.zeros(1, dtype=torch.long), classes=("a",))
    assert PLAIN.of(images).pixels.tolist() == pixels.tolist()
    assert View(down=1).of(images).pixels[0, 0].tolist() == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    assert View(right=-1).of(images).pixels[0, 0].tolist() == [[2, 3, 0], [5, 6, 0], [8, 9, 0]]
    assert MIRRORED.of(images).pixels[0, 0].tolist() == [[3, 2, 1], [6, 5, 4], [9, 8, 7]]


def test_views_that_the_network_does_not_know_are_left_out(
    clean_model: Model, cropped: Model, held_out: Images
) -> None:
    turned = [view for view in known_views(clean_model, held_out) if view.mirrored]
    assert not turned
    assert not knows(clean_model, held_out, MIRRORED)
    assert not knows(clean_model, held_out, View(down=2, right=2))  # it has never seen one shifted
    found = known_views(cropped, held_out)
    assert found[0] == PLAIN
    assert len(found) > 4
    assert not any(view.mirrored for view in found)  # a mirrored 2 is none


def test_large_images_are_asked_about_less_and_to_all_sides(clean_model: Model) -> None:
    def tried(count: int, height: int, width: int) -> list[tuple[int, int, bool]]:
        pixels = torch.zeros(1, 1, 1, 1, dtype=torch.uint8).expand(count, 3, height, width)
        labels = torch.zeros(count, dtype=torch.long)
        views = _views(Images(pixels=pixels, labels=labels, classes=("a", "b")))
        return [(view.down, view.right, view.mirrored) for view in views]

    assert tried(100_000, 32, 32) == [(0, 0, False)]
    assert tried(20_000, 32, 32) == [(0, 0, False), (0, 0, True)]
    sides = tried(5_000, 32, 32)
    assert {right for _, right, _ in sides} == {0, -2, 2}
    assert len(sides) == 6
    assert len(tried(100, 32, 32)) == 18
    assert {right for _, right, _ in tried(10, 64, 3)} == {0}  # too narrow to shift
    assert len(tried(10, 15, 15)) == 2


def test_all_views_tell_the_loss_of_accuracy_more_closely_than_one(
    cropped: Model, held_out: Images
) -> None:
    few, shown = held_out.select(torch.arange(100)), held_out.select(torch.arange(100, 897))
    recipe = Recipe(epochs=3, lr=0.1, batch=50, crop_padding=2)
    tuned = fine_tune(cropped, few, recipe, seed=0)[0]
    views = known_views(cropped, shown)
    plain = rightness(cropped, shown, (PLAIN,)) - rightness(tuned, shown, (PLAIN,))
    views_too = rightness(cropped, shown, views) - rightness(tuned, shown, views)
    lost = accuracy(cropped, shown) - accuracy(tuned, shown)
    assert float(plain.mean()) == pytest.approx(lost, abs=1e-6)
    assert plain.count_nonzero() > 0
    assert views_too.std() < 0.85 * plain.std()


def test_rightness_is_the_share_of_views_in_which_the_class_is_named(
    clean_model: Model, held_out: Images
) -> None:
    views = (PLAIN, View(down=2), View(right=-2))
    told = rightness(clean_model, held_out, views)
    byhand = sum(
        (predictions(clean_model, view.of(held_out)) == held_out.labels).float() for view in views
    )
    assert torch.allclose(told, byhand / 3)
