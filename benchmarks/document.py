"""Write the measured tables of docs/benchmarks.md out of `results/*.json`, between its markers."""

from __future__ import annotations

import json
from pathlib import Path
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


TABLES = {"speed": speed, "scan": scan}


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
