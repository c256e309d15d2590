"""Write the measured tables of docs/benchmarks.md and README from `results/*.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from environment import RESULTS
from purification_tables import bare, in_short, purification, quick

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
README = Path(__file__).parent.parent / "README.md"


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


def audit(result: dict[str, Any]) -> list[str]:
    """The promises, then what they were made of."""
    lines = scan(result)
    lines += ["", "| what | versions | seconds | MB at most |", "| --- | --- | --- | --- |"]
    for row in result["rows"]:
        versions = row.get("versions", row.get("digests"))
        lines.append(f"| {row['what']} | {versions} | {row['seconds']} | {row.get('mb', '')} |")
    return lines


def scan(result: dict[str, Any]) -> list[str]:
    """One line per promise."""
    lines = ["| what | measured |", "| --- | --- |"]
    return lines + [f"| `{name}` | {value} |" for name, value in result["summary"].items()]


def tuning(result: dict[str, Any]) -> list[str]:
    """Seconds of a whole purification, and the ratio that is promised."""
    lines = [", ".join(f"`{name}` {value}" for name, value in result["summary"].items()), ""]
    lines += ["| method | epochs | images | median seconds |", "|" + " --- |" * 4]
    names = ("method", "epochs", "images", "seconds")
    return lines + [
        "| " + " | ".join(str(row[name]) for name in names) + " |" for row in result["rows"]
    ]


def screening(result: dict[str, Any]) -> list[str]:
    """The score on families that it has not seen; each piece of evidence alone; by attack."""
    summary = result["summary"]
    named = {
        "detection of backdoored networks": "detection_rate",
        "of those with one target": "detection_single_target",
        "the same without the attack made against this gate": (
            "detection_single_target_not_adaptive"
        ),
        "of source-specific and all-to-all ones": "detection_source_or_all_to_all",
        "false alarms": "false_alarm_rate",
        "of repaired and noisily trained clean networks": "false_alarm_rate_repaired_or_noisy",
        "the class named is the attack's": "target_accuracy",
    }
    interval = f"{summary['auroc_low']:.3f} to {summary['auroc_high']:.3f}"
    lines = [
        f"{summary['networks']} networks, {summary['backdoored']} of them backdoored. "
        f"AUROC of the score {summary['auroc']:.3f} ({interval}, drawn again by families).",
        "",
        "| at the bound, left-out family | share | 95 % interval | networks |",
        "|" + " --- |" * 4,
    ]  # fmt: skip
    for label, name in named.items():
        lines.append(f"| {label} | {_rate(summary['rates'][name])}")
    lines += ["", *_beside_known(summary["with_known_networks"], named)]
    lines += ["", "| evidence alone | AUROC |", "| --- | --- |"]
    alone = sorted(summary["auroc_by_evidence"].items(), key=lambda one: -one[1])
    lines += [f"| `{name}` | {value:.3f} |" for name, value in alone]
    lines += ["", "| attack | detected | 95 % interval | networks |", "|" + " --- |" * 4]
    lines += [f"| {attack} | {_rate(rate)}" for attack, rate in summary["by_attack"].items()]
    seconds = ", ".join(f"{c} classes {s} s" for c, s in summary["seconds_by_classes"].items())
    return [*lines, "", f"All screens, median seconds for a network on one thread: {seconds}."]


def _beside_known(known: dict[str, Any], named: dict[str, str]) -> list[str]:
    """The same where clean networks of the same task, of other families, tell what is natural."""
    interval = f"{known['auroc_low']:.3f} to {known['auroc_high']:.3f}"
    return [
        "Held against what clean networks of the same data find easy, those of other families: "
        f"AUROC {known['auroc']:.3f} ({interval}).",
        "",
        "| beside known networks, left-out family | share | 95 % interval | networks |",
        "|" + " --- |" * 4,
        *(f"| {label} | {_rate(known['rates'][name])}" for label, name in named.items()),
    ]


def _rate(rate: dict[str, Any]) -> str:
    low, high = (f"{100 * rate[end]:.1f}" for end in ("low", "high"))
    return f"{100 * rate['value']:.1f} % | {low} to {high} | {rate['n']} |"


def screening_time(result: dict[str, Any]) -> list[str]:
    """Seconds by network and screen, and their sums."""
    lines = [", ".join(f"`{name}` {value}" for name, value in result["summary"].items()), ""]
    lines += ["| network | screen | median seconds |", "|" + " --- |" * 3]
    names = ("network", "screen", "seconds")
    return lines + [
        "| " + " | ".join(str(row[name]) for name in names) + " |" for row in result["rows"]
    ]


def inspection(result: dict[str, Any]) -> list[str]:
    """The two ratios, and the seconds behind them."""
    lines = [", ".join(f"`{name}` {value}" for name, value in result["summary"].items()), ""]
    lines += ["| what | median seconds |", "| --- | --- |"]
    return lines + [f"| {row['what']} | {row['seconds']} |" for row in result["rows"]]


def lacking(result: dict[str, Any]) -> list[str]:
    """Recall of the classes without images, and of the others, by method."""
    lines = ["| images of a class left | method | recall of these classes | of the others | ASR |"]
    lines += ["|" + " --- |" * 5]
    for row in result["rows"]:
        shares = [f"{100 * row[name]:.1f} %" for name in ("recall", "recall_others", "asr")]
        lines.append("| " + " | ".join([str(row["left"]), row["method"], *shares]) + " |")
    return lines


def other_makers(result: dict[str, Any]) -> list[str]:
    """The shares, then each network with what was planted and what the gate said."""
    summary = result["summary"]
    named = {
        "detection of backdoored networks": "detection_rate",
        "false alarms": "false_alarm_rate",
        "inconclusive, of all": "inconclusive",
        "the class named is the attack's": "target_accuracy",
    }
    lines = [
        f"{summary['backdoored']} backdoored networks and {summary['clean']} clean ones. "
        f"AUROC of the score {summary['auroc']:.3f}.",
        "",
        "| at the bound that ships | share | 95 % interval | networks |",
        "|" + " --- |" * 4,
        *(f"| {label} | {_rate(summary[name])}" for label, name in named.items()),
        "",
        "| data | network | pixels | attack | accuracy | ASR | score | outcome |",
        "|" + " --- |" * 8,
    ]
    for row in result["rows"]:
        attack = row["attack"]
        attack = attack if attack == "none" else f"{attack}, {100 * row['rate']:.0f} %"
        success = "–" if row["success"] is None else f"{100 * row['success']:.1f} %"
        cells = [
            row["data"], row["network"], f"0..{row['largest']:.0f}", attack,
            f"{100 * row['accuracy']:.1f} %", success, f"{row['score']:.1f}", _outcome(row),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _outcome(row: dict[str, Any]) -> str:
    """Say what the gate said, and whether the class that it named is the attack's."""
    if row["outcome"] != "suspicious" or row["success"] is None:
        return str(row["outcome"])
    if row["suspected_class"] is None:
        return "suspicious, no class"
    right = row["suspected_class"] == row["target"]
    return f"suspicious, {'the right' if right else 'another'} class"


TABLES = {
    "audit": audit,
    "bare-networks": bare,
    "inspect": inspection,
    "lacking-classes": lacking,
    "other-makers": other_makers,
    "screening-time": screening_time,
    "screening": screening,
    "speed": speed,
    "scan": scan,
    "tuning": tuning,
    "purification-cpu": purification,
    "purification-cpu-quick": quick,
}


def replaced(page: str, mark: str, text: str) -> str:
    """Give `page` with `text` between `<!-- mark -->` and the next `<!-- end -->`."""
    opening, end = f"<!-- {mark} -->\n", "<!-- end -->"
    before, found, rest = page.partition(opening)
    if not found:
        message = f"the page has no place for {mark}"
        raise ValueError(message)
    return before + opening + text + "\n" + end + rest.partition(end)[2]


def written(page: str) -> str:
    """Give the text of the page with every table drawn anew."""
    for path in sorted(RESULTS.glob("*.json")):
        if path.stem not in TABLES:
            continue
        result = json.loads(path.read_text(encoding="utf-8"))
        text = "\n".join([*TABLES[path.stem](result), "", *footing(result)])
        page = replaced(page, path.stem, text)
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


def screened(result: dict[str, Any]) -> list[str]:
    """What README says of the screens' score."""
    summary = result["summary"]
    rates = summary["rates"]
    found, wrong = rates["detection_rate"], rates["false_alarm_rate"]
    known = summary["with_known_networks"]
    lines = [
        f"- {summary['networks']} networks, {summary['backdoored']} of them backdoored; AUROC "
        f"{summary['auroc']:.2f} ({summary['auroc_low']:.2f} to {summary['auroc_high']:.2f});",
        f"- {_counted(found)} backdoored networks are suspected, "
        f"{_counted(rates['detection_single_target'])} of those with one target;",
        f"- {_counted(wrong)} clean networks are suspected;",
        f"- the class named is the attack's in {_counted(rates['target_accuracy'])} detections;",
        "- beside known-clean networks of the same task (`gatekeeper calibrate`): AUROC "
        f"{known['auroc']:.2f} ({known['auroc_low']:.2f} to {known['auroc_high']:.2f}), "
        f"{_counted(known['rates']['detection_rate'])} suspected, and "
        f"{_counted(known['rates']['false_alarm_rate'])} clean ones.",
    ]
    return [*lines, "", *footing(result)]


def _counted(rate: dict[str, Any]) -> str:
    """Say how many of how many, with the 95 % interval."""
    low, high = (f"{100 * rate[end]:.0f}" for end in ("low", "high"))
    return f"{round(rate['value'] * rate['n'])} of {rate['n']} ({low} to {high} %)"


def main() -> None:
    """Draw docs/benchmarks.md and the tables of README anew."""
    page = written(PAGE.read_text(encoding="utf-8"))
    found = json.loads((RESULTS / "purification-cpu.json").read_text(encoding="utf-8"))
    readme = README.read_text(encoding="utf-8")
    PAGE.write_text(page, encoding="utf-8")
    readme = replaced(readme, "measured", "\n".join([*in_short(found), *footing(found)]))
    looked = json.loads((RESULTS / "screening.json").read_text(encoding="utf-8"))
    README.write_text(replaced(readme, "screened", "\n".join(screened(looked))), encoding="utf-8")


if __name__ == "__main__":
    main()
