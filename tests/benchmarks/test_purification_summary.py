"""What the purification benchmark claims in its summary is what its rows say."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from bare_networks import summary as bare_summary
from environment import command
from purification_summary import summarise
from purification_tables import bare, purification, quick


def row(attack: str, asr: float | None, drop: float, **more: Any) -> dict[str, Any]:
    plain = {
        "data": "a", "attack": attack, "rate": 0.1, "budget": "5%", "seed": 0, "method": "auto",
        "asr_before": None if asr is None else 1.0, "asr": asr, "accuracy_drop": drop, "der": 0.9,
        "seconds": 2.0,
    }  # fmt: skip
    return {**plain, **more}


def test_means_and_extremes_are_those_of_planted_victims() -> None:
    rows = [
        row("badnets", 0.02, 0.01),
        row("blended", 0.06, -0.01),
        row("wanet", 0.3, 0.5, asr_before=0.4),  # the backdoor never took
        row("none", None, 0.004),
        row("badnets", 0.1, 0.02, budget="1%"),
        row("badnets", 0.9, 0.0, rate=0.01),
    ]
    told = summarise(rows)["auto"]
    assert told["victims"] == 2
    assert told["mean_asr"] == pytest.approx(0.04)
    assert told["max_asr"] == pytest.approx(0.06)
    assert told["mean_accuracy_drop"] == pytest.approx(0.0)
    assert told["max_accuracy_drop"] == pytest.approx(0.01)
    assert told["twin_drop"] == pytest.approx(0.004)
    assert told["by_budget"]["1%"]["mean_asr"] == pytest.approx(0.1)
    assert told["by_budget"]["5%, 1% poison"]["max_asr"] == pytest.approx(0.9)


def test_the_interval_of_a_mean_is_that_of_student() -> None:
    told = summarise([row(f"a{k}", asr, 0.0) for k, asr in enumerate((0.01, 0.02, 0.03))])["auto"]
    assert told["mean_asr_within"] == pytest.approx(4.3027 * 0.01 / 3**0.5, abs=1e-4)
    assert "mean_asr_within" not in summarise([row("a", 0.1, 0.0), row("b", 0.2, 0.0)])["auto"]


def told_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"rows": rows, "summary": summarise(rows)}


def test_seeds_that_a_method_lacks_are_in_no_mean_of_an_attack() -> None:
    """A method that has met one victim more would be compared on another set."""
    rows = [
        row("badnets", asr, 0.0, acc=0.9, seed=seed, method=method)
        for seed, method, asr in (
            (0, "ft", 0.2), (0, "auto", 0.1), (1, "ft", 0.8), (2, "ft", 0.4), (2, "auto", 0.3),
        )
    ]  # fmt: skip
    assert "| a, badnets | 90.0 / 30.0 | 90.0 / 20.0 |" in purification(told_of(rows))
    begun = [one for one in rows if one["method"] == "ft"]
    begun.append(row("none", None, 0.0, acc=0.8))
    lines = purification(told_of(begun))
    assert "| a, badnets | 90.0 / 20.0 | – |" in lines
    assert "| a, none | – | 80.0 / – |" in lines


def test_a_quick_run_that_was_not_made_in_one_go_says_so() -> None:
    rows = [row("badnets", 0.1, 0.0, acc=0.9)]
    assert quick({**told_of(rows), "minutes": 13.3})[0].startswith("`minutes` 13.3, ")
    assert quick(told_of(rows))[0].startswith("`minutes` unknown: not in one go, ")


def test_networks_without_batch_norm_stand_by_network_and_attack() -> None:
    rows = [row("badnets", 0.1, 0.01, acc=0.9, budget="2000", data="mlp, 0..255")]
    rows.append(row("none", None, -0.01, acc=0.9, budget="2000", data="mlp, 0..255"))
    lines = bare({"rows": rows, "summary": bare_summary(rows)})
    assert "| auto | 1 | 10.0 % | 10.0 % | 1.0 % | 1.0 % | 90.0 % | -1.0 % |" in lines
    assert "| mlp, 0..255, badnets | 90.0 / 10.0 |" in lines


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["--rounds", "7"], "--rounds 7"),
        (["--data", "/home/me/cifar10"], "--data PATH/cifar10"),
        (["--data=/home/me/cifar10"], "--data=PATH/cifar10"),
        (["../../packs/gtsrb"], "PATH/gtsrb"),
        (["--part", "1/2"], "--part 1/2"),
    ],
)
def test_a_command_is_told_without_folders(
    typed: list[str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/work/benchmarks/scan.py", *typed])
    assert command() == f"python benchmarks/scan.py {told}"
