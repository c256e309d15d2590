"""What the rows of the purification benchmark come to, method by method."""

from __future__ import annotations

import math
from collections import Counter
from statistics import mean, stdev
from typing import Any

from scipy.special import stdtrit

METHODS = ("none", "ft", "super-ft", "fst", "awm", "ft-sam", "auto")
PLANTED = 0.5  # attack success of a victim, below which nothing was planted that could be removed

_LOOKED_AT = (
    "none",
    "badnets",
    "badnets-source",
    "blended",
    "sig",
    "low-frequency",
    "trojan",
    "wanet",
    "adaptive",
)
_MEANS = {"mean_asr": "asr", "mean_accuracy_drop": "accuracy_drop", "mean_der": "der"}
_SEQUELA = ("membership_auc", "reinjection_success", "adversarial_accuracy")
_DURABILITY = (
    "suspects_obeyed_after_retuning",
    "suspects_obeyed_after_reactivation",
    "suspects_obeyed_along_the_path",
)


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Give, for each method, the headline numbers and the same for each amount of clean images.

    The headline is 10 % poison and 5 % clean images; the others stand under `by_budget`. While a
    run is not finished, only cells that every method has count, so that means compare.
    """
    methods = sorted({row["method"] for row in rows}, key=METHODS.index)
    made = Counter(_cell(row) for row in rows)
    whole = [row for row in rows if made[_cell(row)] == len(methods)]
    return {method: _of([row for row in whole if row["method"] == method]) for method in methods}


def _cell(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("data", "attack", "rate", "budget", "seed"))


def _looked_at(row: dict[str, Any]) -> bool:
    """Tell whether the ladder of `auto` was chosen on this victim, by what a defender can see."""
    return row["data"] == "cifar10" and row["seed"] == 0 and row["attack"] in _LOOKED_AT


def _mean(rows: list[dict[str, Any]], name: str) -> float | None:
    values = [row[name] for row in rows if row.get(name) is not None]
    return round(mean(values), 4) if values else None


def _of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    cells = {
        "5%": [r for r in rows if r["budget"] == "5%" and r["rate"] == 0.10],
        "5%, victims that nothing was chosen on": [
            r for r in rows if r["budget"] == "5%" and r["rate"] == 0.10 and not _looked_at(r)
        ],
        "5%, 1% poison": [r for r in rows if r["budget"] == "5%" and r["rate"] == 0.01],
        "1%": [r for r in rows if r["budget"] == "1%"],
        "one": [r for r in rows if r["budget"] == "one"],
    }
    numbers = {budget: _numbers(found) for budget, found in cells.items() if found}
    return {**numbers.get("5%", {}), "by_budget": numbers}


def _within(name: str, values: list[float]) -> dict[str, float]:
    """Half the width of the 95 % t-interval of the mean over victims, where there are three."""
    if len(values) < 3:
        return {}
    half = stdtrit(len(values) - 1, 0.975) * stdev(values) / math.sqrt(len(values))
    return {f"{name}_within": round(float(half), 4)}


def _numbers(rows: list[dict[str, Any]]) -> dict[str, Any]:
    planted = [r for r in rows if r["attack"] != "none" and r["asr_before"] >= PLANTED]
    twins = [r["accuracy_drop"] for r in rows if r["attack"] == "none"]
    numbers: dict[str, Any] = {"victims": len(planted)}
    if planted:
        numbers |= {
            "mean_asr": round(mean(r["asr"] for r in planted), 4),
            "max_asr": round(max(r["asr"] for r in planted), 4),
            "mean_accuracy_drop": round(mean(r["accuracy_drop"] for r in planted), 4),
            "max_accuracy_drop": round(max(r["accuracy_drop"] for r in planted), 4),
            "mean_der": round(mean(r["der"] for r in planted), 4),
            "mean_seconds": round(mean(r["seconds"] for r in planted), 1),
        }
        for name, column in _MEANS.items():
            numbers |= _within(name, [r[column] for r in planted])
        beside = (*_SEQUELA, *_DURABILITY)
        numbers |= {name: found for name in beside if (found := _mean(planted, name)) is not None}
    if twins:
        numbers["twin_drop"] = round(mean(twins), 4)
        numbers |= _within("twin_drop", twins)
    return numbers
