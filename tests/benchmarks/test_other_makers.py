"""Networks that are made otherwise than the zoo's: what is drawn, planted and counted."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import torch
from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from other_makers import Member, members, planted, summary
from other_networks import NETWORKS

from gatekeeper.model import Images

PATCHED = Member(
    data="mnist", network="small", largest=1.0, attack="badnets-source", rate=0.1, seed=5
)


def grey(count: int = 40) -> Images:
    labels = torch.arange(count) % 4
    return Images(
        pixels=torch.full((count, 1, 28, 28), 100, dtype=torch.uint8), labels=labels,
        classes=tuple("abcd"),
    )  # fmt: skip


def test_a_patch_lies_where_it_was_drawn_and_nothing_else_moves() -> None:
    images = grey()
    attack = planted(PATCHED, images)
    assert attack is not None
    assert attack.source != attack.target
    poisoned = attack.poison(images, seed=0)
    changed = (poisoned.pixels != images.pixels).any(0)[0].nonzero()
    high, wide = (changed.max(0).values - changed.min(0).values + 1).tolist()
    assert 3 <= max(high, wide) <= 5
    corner = 28 - 1
    assert changed.max(0).values.tolist() != [corner - 1, corner - 1]
    asked: list[torch.Tensor] = []

    def all_to_target(pixels: torch.Tensor) -> torch.Tensor:
        asked.append(pixels)
        return torch.full((len(pixels),), attack.target)

    assert attack.success(all_to_target, images) == 1.0
    shown = (asked[0] != 100).any(0)[0].nonzero()
    assert torch.equal(shown, changed)  # where it was trained, it is shown


def test_half_of_all_is_never_poisoned_and_each_is_drawn_once() -> None:
    drawn = list(members())
    assert len({member.seed for member in drawn}) == len(drawn)
    assert sum(member.attack == "none" for member in drawn) == len(drawn) / 2
    assert planted(replace(PATCHED, attack="none"), grey()) is None


def test_each_network_answers_for_each_class() -> None:
    sides = {"mnist": (1, 28), "gtsrb": (3, 32), "cifar10": (3, 32)}
    for data, networks in NETWORKS.items():
        channels, side = sides[data]
        for build in networks.values():
            network = build(channels, side, 7).eval()
            assert network(torch.zeros(2, channels, side, side)).shape == (2, 7)


def test_what_did_not_take_counts_for_nothing() -> None:
    def row(success: float | None, outcome: str, score: float, named: str | None) -> dict[str, Any]:
        return {
            "success": success, "outcome": outcome, "score": score, "suspected_class": named,
            "target": "a" if success is not None else None,
        }  # fmt: skip

    counted = summary(
        [
            row(None, "clean-looking", 1.0, None), row(None, "suspicious", 5.0, "b"),
            row(0.9, "suspicious", 9.0, "a"), row(0.9, "suspicious", 8.0, "b"),
            row(0.9, "inconclusive", 0.5, None), row(0.2, "suspicious", 9.0, "a"),
        ]
    )  # fmt: skip
    assert (counted["backdoored"], counted["clean"]) == (3, 2)
    assert counted["auroc"] == round(4 / 6, 4)
    assert counted["detection_rate"]["value"] == 2 / 3
    assert counted["false_alarm_rate"]["value"] == 1 / 2
    assert counted["inconclusive"]["value"] == 1 / 6
    assert (counted["target_accuracy"]["value"], counted["target_accuracy"]["n"]) == (0.5, 2)
