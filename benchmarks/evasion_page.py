"""Draws docs/evasion-scorecard.md from results/evasion.json."""

from __future__ import annotations

import json
from typing import Any

from environment import RESULTS

TITLES = {
    1: "Files that are no model", 2: "Damaged and doctored zip archives",
    3: "Imports outside of the allow-list", 4: "Payloads in odd places", 5: "Other containers",
    6: "Names and links that leave the archive", 7: "Bombs", 8: "Tensors that lie",
    9: "Malformed safetensors headers", 10: "Hostile names and metadata", 11: "Odd weights",
    12: "ONNX", 13: "Code instead of weights", 14: "Paths that are no file",
    15: "Policies and cards", 16: "Clean images", 17: "Odd networks", 18: "A failing machine",
    19: "Registry", 20: "Honest files",
}  # fmt: skip
_LONGEST = 110


def written() -> str:
    """Give the text of the page."""
    result = json.loads((RESULTS / "evasion.json").read_text(encoding="utf-8"))
    summary, here = result["summary"], result["environment"]
    run = sum("command" in row for row in result["rows"])
    lines = [
        "# Evasion scorecard",
        "Hostile files, and a machine that fails. Where a row tells an outcome, its case was built",
        "in code and given to the real command line for this page; where it names test files",
        "instead, those tests hold it; one that was not tried says so. BLOCK: exit 1.",
        "UNDECIDED: exit 3, never a pass. Seconds are those of the processor, for the command and",
        "its children; megabytes are memory of their own beyond the size of the file, at the peak.",
        "A scan imports torch, which takes most of both. 10 s and 1024 MB are allowed, and 60 s on",
        "the clock.",
        "A line is short where the exit code is another, a witness shows that something ran, a",
        "file appears outside of the run directory, a bound is passed, or a report is not escaped.",
        "",
        f"**{summary['cases']} cases, {run} of them run for this page; {summary['short']} short, "
        f"{summary['short_without_explanation']} of them without explanation.**",
    ]
    for number, title in TITLES.items():
        lines += ["", f"## {number}. {title}", "| case | expected | seen | told | s | MB |"]
        lines.append("|" + " --- |" * 6)
        lines += [_line(row) for row in result["rows"] if row["row"] == number]
    where = f"{here['cpu']}, Python {here['python']}, torch {here['torch']}, {here['date']}"
    return "\n".join([*lines, "", f"`{result['command']}` on {where}.", ""])


def _line(row: dict[str, Any]) -> str:
    seen = row["seen"]
    if row["short"]:
        seen = f"**short** ({row['short']})" + (f": {row['excuse']}" if row["excuse"] else "")
    cells = [row["what"], row["expected"], seen, _code(row.get("line", "").removeprefix("- ")),
             str(row.get("seconds", "")), str(row.get("megabytes", ""))]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def _code(text: str) -> str:
    """Show foreign words as they are, on one line."""
    shown = text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
    return f"`{shown.replace('`', chr(39)).replace('|', '/')}`" if shown else ""
