"""What does auditing a registry cost: the first time, again, with two workers, and at 100,000?

The registry is a folder tree of 1,000 versions with 50 digests: small residual networks drawn by
seed, and hostile pickles. Each is inspected and screened without images (profile "static +
screen"), which is work of the processor alone. Planning is measured in a process of its own for
each size, on a simulated registry, once with nothing known and once with everything known.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from audit_planning import SIZES, planning
from audit_plot import plot
from environment import RESULTS, environment, write

VERSIONS, DIGESTS, HOSTILE = 1000, 50, 5
POLICY = """
name: static-and-screen
screen: [neuron-norm, channel-lipschitz, last-layer, maximum-margin]
purify: {when: never}
require: {clean_accuracy: {at_least: 0.8}}
"""
CARD = """
architecture: gatekeeper:small-resnet
num_classes: 10
input: {size: [1, 16, 16], mean: [0.5], std: [0.5]}
"""


def main() -> None:
    """Measure, keep the result, and draw how planning grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison of workers")
    parser.add_argument("--pair", type=int, default=12, help="digests of that comparison")
    parser.add_argument("--part", choices=["twice", "paired", "planning"], help="one part only")
    asked = parser.parse_args()
    parts = {
        "twice": twice,
        "paired": lambda: paired(asked.rounds, asked.pair),
        "planning": planning,
    }
    for name, part in parts.items():
        if asked.part in (None, name):
            keep([{**row, "environment": environment()} for row in part()])


def keep(rows: list[dict[str, Any]]) -> None:
    """Write rows beside those of other parts, and draw again."""
    path = RESULTS / "audit.json"
    held = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    kept = list({row["what"]: row for row in (*held, *rows)}.values())
    write("audit", summary=summary(kept), rows=kept)
    if any(row["what"].startswith("plan ") for row in kept):
        plot(kept)


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The promised figures, as far as their parts were run."""
    kept = {row["what"]: row for row in rows}
    told: dict[str, float] = {}
    if {"first audit", "second audit"} <= set(kept):
        first, second = kept["first audit"]["seconds"], kept["second audit"]["seconds"]
        told["second_over_first"] = round(second / first, 4)
    if {"one worker", "two workers"} <= set(kept):
        one, two = kept["one worker"]["seconds"], kept["two workers"]["seconds"]
        told["speedup_two_workers"] = round(one / two, 2)
    if f"plan {SIZES[-1]} known" in kept:
        ends = [kept[f"plan {SIZES[-1]} {state}"] for state in ("known", "new")]
        told["plan_100k_seconds"] = max(row["seconds"] for row in ends)
        told["plan_100k_mb"] = max(row["mb"] for row in ends)
    return told


def twice() -> Iterator[dict[str, Any]]:
    """Audit 1,000 versions, then the same again with nothing new."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        lay(folder, versions=VERSIONS, digests=DIGESTS)
        for what in ("first audit", "second audit"):
            seconds, judged = audited(folder, "out", workers=2)
            yield {"what": what, "versions": VERSIONS, "judged": judged, "seconds": seconds}


def paired(rounds: int, digests: int) -> Iterator[dict[str, Any]]:
    """Audit the same files with one worker and with two, in turns; each scan has one thread."""
    taken: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        lay(folder, versions=digests, digests=digests, hostile=0)
        for turn in range(rounds):
            for workers, seconds in taken.items():
                seconds.append(audited(folder, f"out-{turn}-{workers}", workers=workers)[0])
        ledgers = {w: verdicts(folder / f"out-0-{w}") for w in taken}
    assert ledgers[1] == ledgers[2], "the ledgers differ"
    for workers, what in ((1, "one worker"), (2, "two workers")):
        yield {"what": what, "digests": digests, "seconds": round(median(taken[workers]), 2)}


def lay(folder: Path, *, versions: int, digests: int, hostile: int = HOSTILE) -> None:
    """Write the registry, its policy and its rules."""
    import torch

    from gatekeeper.candidate.networks import BUILT_IN

    contents = [folder / f"content-{number}.pt" for number in range(digests)]
    for number, path in enumerate(contents):
        if number < hostile:
            path.write_bytes(pickle.dumps(_Call(f"NAME_{number}")))
            continue
        torch.manual_seed(number)
        torch.save(BUILT_IN["gatekeeper:small-resnet"](1, 16, 16, 10).state_dict(), path)
    for number in range(versions):
        # Copies of one digest lie far apart, as they do where teams copy from each other.
        place = folder / "models" / f"team-{number % 97}-model-{number}" / "1"
        place.mkdir(parents=True)
        os.link(contents[number % digests], place / "model.pt")
    (folder / "policy.yaml").write_text(POLICY, encoding="utf-8")
    (folder / "card.yaml").write_text(CARD, encoding="utf-8")
    (folder / "audit.yaml").write_text("policy: policy.yaml\ncard: card.yaml\nthreads: 1\n")


class _Call:
    """Unpickles to a call of os.getenv, which is outside of the allow-list and does no harm."""

    def __init__(self, argument: str) -> None:
        self.argument = argument

    def __reduce__(self) -> tuple[Any, ...]:
        return os.getenv, (self.argument,)


def audited(folder: Path, out: str, *, workers: int) -> tuple[float, int]:
    """Seconds of one audit by the command line, and how many scans it ran."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "gatekeeper", "audit", "models", "--config", "audit.yaml",
         "--out", out, "--workers", str(workers), "--quiet"],
        cwd=folder, stdout=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    seconds = round(time.perf_counter() - started, 2)
    return seconds, json.loads((folder / out / "audit.json").read_text(encoding="utf-8"))["judged"]


def verdicts(out: Path) -> list[tuple[str, str]]:
    """What the ledger holds, but for times."""
    from gatekeeper.ledger.book import Ledger

    book = Ledger(f"sqlite:///{out / 'ledger.sqlite'}")
    judged = book.judgements(str((out.parent / "models").resolve())).values()
    found = sorted((one.key, f"{one.decision} {one.reason}") for one in judged)
    book.close()
    return found


if __name__ == "__main__":
    main()
