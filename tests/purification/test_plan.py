"""What `auto` may try fits the network and its clean images."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
import torch
from conftest import fresh_network

from gatekeeper.model import Images, Model
from gatekeeper.purification import FTSAM
from gatekeeper.purification.auto import Auto
from gatekeeper.purification.plan import for_good, plan


@pytest.fixture(scope="module")
def parts(held_out: Images) -> tuple[Images, Images]:
    return held_out.select(torch.arange(360)), held_out.select(torch.arange(360, len(held_out)))


def test_mirrored_images_serve_where_the_candidate_knows_them(
    parts: tuple[Images, Images], clean_model: Model
) -> None:
    same = replace(parts[0], pixels=(parts[0].pixels + parts[0].pixels.flip(3)) // 2)
    for images, flip in ((parts[0], False), (same, True)):  # a mirrored 2 is none
        assert plan(clean_model, images, seed=0)[0].rungs[0].flip is flip  # type: ignore[attr-defined]


def test_the_ladder_is_gentle_where_no_normalisation_follows(parts: tuple[Images, Images]) -> None:
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32 * 32, 10))
    bare = replace(fresh_network(), network=linear)
    ladders = [plan(model, parts[0], seed=0)[0] for model in (fresh_network(), bare)]
    assert {ladder.method for ladder in ladders} == {"ft-sam"}
    normed, without = [[asdict(rung) for rung in ladder.rungs] for ladder in ladders]  # type: ignore[call-overload]
    hot, gentle = (
        side[ladder.start] for side, ladder in zip((normed, without), ladders, strict=True)
    )
    assert gentle["rho"] < hot["rho"]
    assert gentle["lr"] < hot["lr"]
    assert all(rung["clip"] > 0 for rung in without)
    assert [ladder.bold for ladder in ladders] == [False, True]
    assert len(without[: ladders[1].start]) >= 2  # to go up to
    steps = [(rung["lr"], rung["weight_decay"]) for rung in without]
    assert steps == sorted(steps, reverse=True)  # the strongest first


def test_without_normalisation_what_is_left_is_countered_next(
    parts: tuple[Images, Images],
) -> None:
    linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(32 * 32, 10))
    bare = replace(fresh_network(), network=linear)
    first, second, *_ = plan(bare, parts[0], seed=0)
    assert second.method == "ft-sam-restore"
    assert not second.bold
    assert plan(fresh_network(), parts[0], seed=0)[1].method == "unlearn"
    assert {rung.method for rung in first.rungs[: first.start]} == {"ft-sam"}


@pytest.mark.parametrize("images", [90, 101, 150, 270, 645, 750, 2000])
def test_no_batch_of_the_ladder_leaves_a_few_images_over(images: int, held_out: Images) -> None:
    """Statistics of two images are chance, and a hot step by them undoes the good ones."""
    many = held_out.select(torch.arange(images) % len(held_out))
    rung = plan(fresh_network(), many, seed=0)[0].rungs[0]
    assert isinstance(rung, FTSAM)
    left = images % rung.batch or rung.batch
    assert left >= rung.batch // 2
    kept = for_good(rung, images + images // 3)
    assert isinstance(kept, FTSAM)
    left = (images + images // 3) % kept.batch or kept.batch
    assert left >= kept.batch // 2


@pytest.mark.parametrize("left", [0, 1, 3, 4])
def test_where_a_class_is_rare_nothing_is_tried_that_forgets_it(
    left: int, held_out: Images
) -> None:
    keep = torch.ones(len(held_out), dtype=torch.bool)
    keep[(held_out.labels == 4).nonzero().flatten()[left:]] = False
    lacking = held_out.select(keep)
    fitted, validation = Auto().divide(lacking, 0)
    assert [ladder.method for ladder in plan(fresh_network(), fitted, seed=0)] == ["awm-taught"]
    counts = [part.labels.bincount(minlength=10) for part in (fitted, validation)]
    assert counts[0][4] == min(left, 3)
    assert counts[1][4] == left - counts[0][4]
    assert len(fitted) + len(validation) == len(lacking)
    assert int(counts[1].count_nonzero()) == 9 + (left == 4)


def test_with_one_image_a_class_only_taught_masks_are_tried(
    held_out: Images,
) -> None:
    first = torch.stack([(held_out.labels == k).nonzero()[0, 0] for k in range(10)])
    one_each = held_out.select(first)
    assert [ladder.method for ladder in plan(fresh_network(), one_each, seed=0)] == ["awm-taught"]
    fitted, validation = Auto().divide(one_each, 0)
    assert fitted is validation is one_each
