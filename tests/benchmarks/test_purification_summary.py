"""What the purification benchmark claims in its summary is what its rows say."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))

from purification_summary import summarise


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
