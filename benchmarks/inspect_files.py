"""What does static inspection cost beside hashing a large file, and beside picklescan's library?

The child that looks is started before the clock, as it is for all files of a folder but the first;
what its start costs is told by itself. Of a folder of 1,000 files the children's start is taken off
by a folder of as many files as there are children, as importing picklescan is not counted either;
the ratio with it is kept, too. The two of a pair take turns, so that a busy machine slows both.

Its result is results/inspect.json; the script itself is not called inspect.py, as each script here
finds its neighbours first, and that would hide Python's own module `inspect` from all of them.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from environment import environment, write
from picklescan import scanner
from torchvision.models import resnet50

from gatekeeper.candidate.inspect import Inspector
from gatekeeper.inspection import inspect_all

FILES = 1000
_PIECE = 1 << 18


def main() -> None:
    """Print and keep the ratios of the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, Inspector() as inspector:
        large, small, few = Path(folder, "large.pt"), Path(folder, "small"), Path(folder, "few")
        torch.manual_seed(0)
        torch.save(resnet50().state_dict(), large)
        started_with = os.cpu_count() or 1
        for place, count in ((small, FILES), (few, started_with)):
            place.mkdir()
            for number in range(count):
                torch.save({"w": torch.rand(8, 8), "b": torch.rand(8)}, place / f"{number:04}.pt")
        paths = sorted(small.iterdir())
        started = time.perf_counter()
        inspector.start()
        start = time.perf_counter() - started
        seconds = timed(
            {
                "hash": lambda: hashed(large),
                "inspect": lambda: inspector.inspect(large),
                "picklescan, 1,000 files": lambda: [scanner.scan_file_path(str(p)) for p in paths],
                "inspect, 1,000 files": lambda: inspect_all([small]),
                "inspect, a file a child": lambda: inspect_all([few]),
            },
            rounds,
        )
    rows = [
        {"what": what, "seconds": round(value, 4), "environment": environment()}
        for what, value in {"start of a child": start, **seconds}.items()
    ]
    ours, theirs = seconds["inspect, 1,000 files"], seconds["picklescan, 1,000 files"]
    each = (ours - seconds["inspect, a file a child"]) / (FILES - started_with)
    summary = {
        "over_hash": round(seconds["inspect"] / seconds["hash"], 3),
        "over_picklescan": round(each / (theirs / FILES), 3),
        "over_picklescan_with_start": round(ours / theirs, 3),
    }
    write("inspect", summary=summary, rows=rows)


def timed(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, all in turns; the first round warms up."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            taken[name].append(time.perf_counter() - started)
    return {name: median(values[1:]) for name, values in taken.items()}


def hashed(path: Path) -> str:
    """SHA-256 of a file, piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


if __name__ == "__main__":
    main()
