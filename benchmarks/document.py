"""Write the measured tables of docs/benchmarks.md out of `results/*.json`, between its markers."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any

from environment import RESULTS

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def speed(result: dict[str, Any]) -> list[str]:
    """One line per device and kind of step; whole runs below."""
    ratios = ", ".join(f"`{name}` {value}" for name, value in result["summary"].items())
    lines = [
        f"{ratios}",
        "",
        "| device | batch | step | median seconds |",
        "| --- | --- | --- | --- |",
    ]
    for row in result["rows"]:
        steps = (
            row["seconds"] if isinstance(row["seconds"], dict) else {row["what"]: row["seconds"]}
        )
        size = row.get("batch") or f"{row['images']} images"
        lines += [
            f"| {row['device']} | {size} | {name} | {value} |" for name, value in steps.items()
        ]
    return lines


def scan(result: dict[str, Any]) -> list[str]:
    """One line per promise."""
    lines = ["| what | measured |", "| --- | --- |"]
    return lines + [f"| `{name}` | {value} |" for name, value in result["summary"].items()]


def purification(result: dict[str, Any]) -> list[str]:
    """The headline by method, then accuracy and attack success by attack."""
    lines = [
        "| method | victims | mean ASR | max ASR | mean accuracy lost | max | mean DER | clean "
        "twin loses | seconds |",
        "|" + " --- |" * 9,
    ]
    for method, numbers in result["summary"].items():
        cells = [numbers.get("victims", 0), *(_percent(numbers.get(name)) for name in _COLUMNS)]
        lines.append("| " + " | ".join(map(str, [method, *cells, _seconds(numbers)])) + " |")
    return [*lines, "", *_by_attack(result["rows"]), "", *_other_cells(result["summary"])]


_COLUMNS = (
    "mean_asr",
    "max_asr",
    "mean_accuracy_drop",
    "max_accuracy_drop",
    "mean_der",
    "twin_drop",
)


def _by_attack(rows: list[dict[str, Any]]) -> list[str]:
    """ACC / ASR in percent, mean over seeds, of 10 % poison and 5 % clean images."""
    headline = [row for row in rows if row["rate"] == 0.10 and row["budget"] == "5%"]
    methods = list(dict.fromkeys(row["method"] for row in headline))
    lines = ["| data, attack | " + " | ".join(methods) + " |", "|" + " --- |" * (len(methods) + 1)]
    for data, attack in dict.fromkeys((row["data"], row["attack"]) for row in headline):
        found = [row for row in headline if (row["data"], row["attack"]) == (data, attack)]
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


def _other_cells(summary: dict[str, Any]) -> list[str]:
    """The other amounts of clean images and of poison, where they were run."""
    budgets = dict.fromkeys(b for numbers in summary.values() for b in numbers["by_budget"])
    lines = []
    for budget in budgets:
        if budget == "5%":
            continue
        lines += ["", f"Clean images: {budget}", "", "| method | victims | mean ASR | max ASR | "
                  "mean accuracy lost | max |", "|" + " --- |" * 6]  # fmt: skip
        for method, numbers in summary.items():
            found = numbers["by_budget"].get(budget, {})
            cells = [found.get("victims", 0), *(_percent(found.get(n)) for n in _COLUMNS[:4])]
            lines.append("| " + " | ".join(map(str, [method, *cells])) + " |")
    return lines


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _seconds(numbers: dict[str, Any]) -> str:
    return str(numbers.get("mean_seconds", "–"))


TABLES = {"speed": speed, "scan": scan, "purification-cpu": purification}


def written(page: str) -> str:
    """Give the text of the page with every table drawn anew."""
    for path in sorted(RESULTS.glob("*.json")):
        if path.stem not in TABLES:
            continue
        result = json.loads(path.read_text(encoding="utf-8"))
        text = "\n".join([*TABLES[path.stem](result), "", *footing(result)])
        opening, end = f"<!-- {path.stem} -->\n", "\n<!-- end -->"
        before, _, rest = page.partition(opening)
        page = before + opening + text + end + rest.partition(end)[2]
    return page


def footing(result: dict[str, Any]) -> list[str]:
    """Say what made the numbers, on what, and when: a line for each machine that made some."""
    lines = []
    for row in result["rows"] or [{}]:
        here = row.get("environment", result["environment"])
        hardware = f"{here['cpu']}, {here['threads']} threads, GPU: {here['gpu'] or 'none'}"
        command = row.get("command", result["command"])
        lines.append(f"`{command}` on {hardware}; torch {here['torch']}, {here['date']}.")
    return list(dict.fromkeys(lines))


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
