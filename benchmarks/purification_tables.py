"""The tables of the purification benchmark: by method, by attack, by amount of clean images."""

from __future__ import annotations

from collections import Counter
from statistics import mean
from typing import Any

from purification_summary import METHODS


def purification(result: dict[str, Any]) -> list[str]:
    """The headline by method, then accuracy and attack success by attack."""
    lines = [f"{_HEAD} seconds |", "|" + " --- |" * 9]
    for method, numbers in result["summary"].items():
        shown = [_percent(numbers.get(name), numbers.get(f"{name}_within")) for name in _COLUMNS]
        cells = [numbers.get("victims", 0), *shown, _seconds(numbers)]
        lines.append("| " + " | ".join(map(str, [method, *cells])) + " |")
    return [
        *lines,
        "",
        *_by_attack(result["rows"], "5%"),
        "",
        *_other_cells(result),
        *_took(result),
    ]


def quick(result: dict[str, Any]) -> list[str]:
    """What a quick run took, and what it found by attack."""
    minutes = result.get("minutes", "unknown: not in one go")
    took = f"`minutes` {minutes}, the training of victims that no earlier run had cached included."
    return [took, "", *_by_attack(result["rows"], "5%")]


def bare(result: dict[str, Any]) -> list[str]:
    """The headline by method, then accuracy and attack success by network and attack."""
    lines = [_HEAD, "|" + " --- |" * 8]
    for method, numbers in result["summary"].items():
        cells = [numbers["victims"], *(_percent(numbers[name]) for name in _COLUMNS)]
        lines.append("| " + " | ".join(map(str, [method, *cells])) + " |")
    for budget in dict.fromkeys(row["budget"] for row in result["rows"]):
        lines += ["", *_by_attack(result["rows"], budget)]
    return lines


def _took(result: dict[str, Any]) -> list[str]:
    """What the purifiers took in all; victims are trained beside that."""
    rows = [row for row in result["rows"] if row["method"] != "none"]
    hours = sum(row["seconds"] for row in rows) / 3600
    return ["", f"The purifiers of these {len(rows)} rows took {hours:.1f} hours of one thread."]


_BESIDE = ("1%", "one")  # beside that of the headline
_NAMED = {"one": "one of each class"}
_HEAD = (
    "| method | victims | mean ASR | max ASR | mean accuracy lost | max | mean DER | clean twin "
    "loses |"
)
_COLUMNS = (
    "mean_asr",
    "max_asr",
    "mean_accuracy_drop",
    "max_accuracy_drop",
    "mean_der",
    "twin_drop",
)


def _by_attack(rows: list[dict[str, Any]], budget: str) -> list[str]:
    """ACC / ASR in percent, of 10 % poison and so many clean images.

    The mean over the seeds that every method has; the first seed where none is whole.
    """
    headline = [row for row in rows if row["rate"] == 0.10 and row["budget"] == budget]
    methods = sorted({row["method"] for row in headline}, key=METHODS.index)
    lines = ["| data, attack | " + " | ".join(methods) + " |", "|" + " --- |" * (len(methods) + 1)]
    for data, attack in dict.fromkeys((row["data"], row["attack"]) for row in headline):
        found = [row for row in headline if (row["data"], row["attack"]) == (data, attack)]
        made = Counter(row["seed"] for row in found)
        whole = [row for row in found if made[row["seed"]] == len(methods)]
        found = whole or [row for row in found if row["seed"] == found[0]["seed"]]
        cells = [_pair([row for row in found if row["method"] == m]) for m in methods]
        lines.append(f"| {data}, {attack} | " + " | ".join(cells) + " |")
    return lines


def _pair(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "–"
    accuracy = mean(row["acc"] for row in rows)
    successes = [row["asr"] for row in rows if row["asr"] is not None]
    return (
        f"{100 * accuracy:.1f} / {100 * mean(successes):.1f}"
        if successes
        else (f"{100 * accuracy:.1f} / –")
    )


def _other_cells(result: dict[str, Any]) -> list[str]:
    """The other amounts of clean images and of poison, where they were run."""
    summary = result["summary"]
    budgets = dict.fromkeys(b for numbers in summary.values() for b in numbers["by_budget"])
    lines = []
    for budget in budgets:
        if budget == "5%":
            continue
        lines += ["", f"Clean images: {_NAMED.get(budget, budget)}", ""]
        lines += [_HEAD, "|" + " --- |" * 8]
        for method, numbers in summary.items():
            found = numbers["by_budget"].get(budget, {})
            cells = [found.get("victims", 0), *(_percent(found.get(n)) for n in _COLUMNS)]
            lines.append("| " + " | ".join(map(str, [method, *cells])) + " |")
        if budget in _BESIDE:
            lines += ["", *_by_attack(result["rows"], budget)]
    return lines


def _percent(value: float | None, within: float | None = None) -> str:
    """Give a share in percent, with half the width of its 95 % interval where that is known."""
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" + (f" ± {100 * within:.1f}" if within is not None else "")


def _seconds(numbers: dict[str, Any]) -> str:
    return str(numbers.get("mean_seconds", "–"))


def in_short(result: dict[str, Any]) -> list[str]:
    """The rows that README shows."""
    lines = ["| | mean ASR | worst ASR | mean accuracy lost | mean DER | clean twin loses |"]
    lines += ["|" + " --- |" * 6]
    names = {
        "none": "candidate",
        "ft": "fine-tuning",
        "super-ft": "super-fine-tuning",
        "fst": "feature-shift tuning",
        "awm": "adversarial weight masking",
        "ft-sam": "FT-SAM, published settings",
        "auto": "**`method: auto`**",
    }
    for method, name in names.items():
        numbers = result["summary"].get(method, {})
        columns = ("mean_asr", "max_asr", "mean_accuracy_drop", "mean_der", "twin_drop")
        lines.append(f"| {name} | " + " | ".join(_percent(numbers.get(c)) for c in columns) + " |")
    victims = result["summary"].get("auto", {}).get("victims", 0)
    told = f"{victims} backdoored networks so far, 10 % poison, 5 % clean images."
    return [*lines, "", told]
