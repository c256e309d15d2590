"""What happens when hostile files meet the real command line? Writes docs/evasion-scorecard.md."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from environment import write
from evasion_cases import BLOCK, CLEAN, EITHER, HANDLED, UNDECIDED, USAGE, Case
from evasion_content import CASES as CONTENT
from evasion_page import written
from evasion_places import CASES as PLACES
from hostile import WITNESS

PAGE = Path(__file__).parent.parent / "docs/evasion-scorecard.md"
GATEKEEPER = [sys.executable, "-m", "gatekeeper"]
CODES = {
    BLOCK: (1,),
    UNDECIDED: (3,),
    EITHER: (1, 3),
    USAGE: (2,),
    HANDLED: (0, 1, 2, 3),
    CLEAN: (0,),
}
SECONDS, MEGABYTES = 10.0, 1024.0
WAITED = 60.0  # seconds on the clock: a gate that sleeps spends none of the processor's
_GIVEN_UP = 120.0  # seconds on the clock: the machine may be shared
_LOOK = 0.02


@dataclass(frozen=True, kw_only=True)
class Run:
    """One command: how it ended, what it said, and what it cost with all its children."""

    code: int
    said: str
    seconds: float  # of processor time
    waited: float  # seconds on the clock
    megabytes: float  # of memory that no file backs, at its peak


def every_case() -> list[Case]:
    """Give all cases in the order of their rows."""
    return sorted([*CONTENT, *PLACES], key=lambda case: case.row)


def run(words: list[str], folder: Path) -> Run:
    """Run the gate in `folder` and watch its process tree."""
    before = os.times()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [*GATEKEEPER, *words],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "COLUMNS": "100", "TMPDIR": str(folder.with_name("tmp"))},
        )
        peak, begin = 0, time.monotonic()
        while process.poll() is None and time.monotonic() - begin < _GIVEN_UP:
            peak = max(peak, _memory(process.pid))
            time.sleep(_LOOK)
        process.kill()
        code, waited = process.wait(), time.monotonic() - begin
        said.seek(0)
        text = said.read().decode("utf-8", "replace")
    after = os.times()
    used = sum(after[2:4]) - sum(before[2:4])
    return Run(
        code=code, said=text, seconds=round(used, 2), waited=round(waited, 1),
        megabytes=round(peak / 1024, 1),
    )  # fmt: skip


def _memory(process: int) -> int:
    """Kilobytes that a process and its children hold for themselves."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8", errors="replace")
        tasks = Path(f"/proc/{process}/task").glob("*/children")
        children = " ".join(task.read_text(encoding="ascii") for task in tasks)
    except OSError:
        return 0
    held = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")]
    return sum(map(int, held)) + sum(_memory(int(child)) for child in children.split())


def tried(case: Case) -> dict[str, Any]:
    """Run one case and judge it."""
    row: dict[str, Any] = {"row": case.row, "what": case.what, "expected": case.expect}
    if case.lay is None:
        untried = "" if case.elsewhere else "not tried"
        return row | {"seen": case.elsewhere, "short": untried, "excuse": case.excuse}
    with tempfile.TemporaryDirectory(prefix="evasion-") as place:
        root, folder = Path(place), Path(place, "work")
        folder.mkdir()
        (root / "tmp").mkdir()
        words = case.lay(folder)
        size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file()) / (1 << 20)
        there = _files(root)
        seen = run(words, folder)
        new = [path for path in _files(root) - there if not path.startswith("work/run/")]
        pages = _pages(folder / "run")
    short = [
        *([] if seen.code in CODES[case.expect] else [f"exit {seen.code}"]),
        *(f"does not say {word!r}" for word in case.told if word not in seen.said),
        *(["something ran"] if Path(WITNESS).exists() else []),
        *([f"wrote {new[0]}"] if new else []),
        *([f"{seen.seconds} s"] if seen.seconds > SECONDS else []),
        *([f"{seen.waited} s on the clock"] if seen.waited > WAITED else []),
        *([f"{seen.megabytes} MB"] if seen.megabytes - size > MEGABYTES else []),
        *_unescaped(seen.said, pages),
    ]
    Path(WITNESS).unlink(missing_ok=True)
    return row | {
        "command": words[0], "exit": seen.code, "seen": _verdict(seen), "line": _line(seen.said),
        "seconds": seen.seconds, "megabytes": round(max(0.0, seen.megabytes - size), 1),
        "short": "; ".join(short), "excuse": case.excuse if short else "",
    }  # fmt: skip


def _files(root: Path) -> set[str]:
    """Give files and links; torchvision makes an empty folder for temporary files."""
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


def _pages(room: Path) -> str:
    """Give the reports that a browser, a log or a code host would show."""
    names = ("report.html", "summary.md")
    return "\n".join((room / n).read_text(encoding="utf-8") for n in names if (room / n).exists())


def _unescaped(said: str, pages: str) -> list[str]:
    lines = (said + "\n" + pages).splitlines()
    return [
        *(["an escape reaches the terminal"] if "\x1b" in said else []),
        *(["a log command"] if any(line.lstrip().startswith("::") for line in lines) else []),
        *(["markup in a report"] if "<script>alert" in pages else []),
        *(["internal error"] if "internal error" in said or "Traceback" in said else []),
    ]


def _verdict(seen: Run) -> str:
    return {0: "no finding", 1: "BLOCK", 2: "exit 2", 3: "UNDECIDED"}.get(seen.code, "killed")


def _line(said: str) -> str:
    """Give the line that says what is wrong."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("critical:", "high:", "gatekeeper:"))]
    reasons = [
        line for line in lines[1:] if not line.startswith(("clean", "unreadable", "blocked"))
    ]
    return (telling or reasons or lines or [""])[0]


def main() -> None:
    """Try every case; exit 1 where a row is short without an explanation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="*", help="only these; the page is not written")
    only = parser.parse_args().rows
    rows = []
    for case in every_case():
        if only is None or case.row in only:
            rows.append(tried(case))
            print(f"{case.row:2} {case.what}: {rows[-1]['seen']} {rows[-1]['short']}", flush=True)
    unexplained = [row for row in rows if row["short"] and not row["excuse"]]
    if only is None:
        counted = {
            "cases": len(rows), "short": sum(bool(row["short"]) for row in rows),
            "short_without_explanation": len(unexplained),
            "most_seconds": max(row.get("seconds", 0.0) for row in rows),
            "most_megabytes": max(row.get("megabytes", 0.0) for row in rows),
        }  # fmt: skip
        write("evasion", summary=counted, rows=rows)
        PAGE.write_text(written(), encoding="utf-8")
    sys.exit(1 if unexplained else 0)


if __name__ == "__main__":
    main()
