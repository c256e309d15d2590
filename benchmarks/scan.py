"""What does the gate cost before it judges? Start, inspection, and a scan without clean images."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from environment import write

MEGABYTE = 1024 * 1024
INSPECT = """
import json, sys, time
from pathlib import Path
from gatekeeper.candidate.inspect import inspect
from gatekeeper.rundir import sha256_file
path, seconds = Path(sys.argv[1]), {"hash": [], "inspect": []}
for _ in range(7):
    for name, work in (("hash", sha256_file), ("inspect", inspect)):
        started = time.perf_counter()
        work(path)
        seconds[name].append(time.perf_counter() - started)
print(json.dumps({"seconds": seconds, "torch": "torch" in sys.modules}))
"""
GATEKEEPER = str(Path(sys.executable).parent / "gatekeeper")
UNDECIDED = 3  # what a scan without clean images exits with
# One import after another: the command itself reads the candidate while torchvision is imported.
PARTS = ("import torchvision", "import gatekeeper", "scan")
SCAN = """
import json, resource, sys, time
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
import torch
began = time.perf_counter()
import torchvision
torchvision_in = time.perf_counter()
import gatekeeper.pipeline
from gatekeeper.job import Job
imported, beside = time.perf_counter(), peak()
gatekeeper.pipeline.run(Job(model=sys.argv[1], out=sys.argv[2], policy="default"))
scanned = time.perf_counter()
parts = {"import torchvision": torchvision_in - began,
         "import gatekeeper": imported - torchvision_in, "scan": scanned - imported}
print(json.dumps({**parts, "peak": peak() - beside}))
"""
# From a process that is itself small: a child begins as large as its parent.
QUARANTINE = """
import resource, sys, tempfile
from pathlib import Path
from gatekeeper.candidate.extraction import extract
with open(sys.argv[1], "rb") as stream, tempfile.TemporaryDirectory() as folder:
    extract(stream, "torch-zip", Path(folder, "out"))
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def main() -> None:
    """Measure everything `--rounds` times and write `results/scan.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        model = resnet50(Path(folder))
        rows = [start(rounds), inspection(model), scan(model, rounds)]
    summary = {key: value for row in rows for key, value in row["summary"].items()}
    write("scan", summary=summary, rows=rows)


def resnet50(folder: Path) -> Path:
    """Save a ResNet-50 with random weights as a state dict; about 100 MB."""
    make = (
        "import sys, torch; from torchvision.models import resnet50; torch.manual_seed(0); "
        "torch.save(resnet50(num_classes=10).state_dict(), sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", make, str(folder / "model.pt")], check=True)
    return folder / "model.pt"


def start(rounds: int) -> dict[str, Any]:
    """Seconds of `gatekeeper --help` beyond those of Python's own start."""
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "help": [GATEKEEPER, "--help"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(4 * rounds):
        for name, command in commands.items():
            seconds[name].append(wall(*command))
    beyond = median(seconds["help"]) - median(seconds["python"])
    return {"what": "start", "summary": {"help_seconds_beyond_python": round(beyond, 4)}}


def inspection(model: Path) -> dict[str, Any]:
    """Time of inspecting a large file against that of hashing it, in one process."""
    told = json.loads(python(INSPECT, model))
    middle = {name: median(values) for name, values in told["seconds"].items()}
    summary = {
        "inspect_over_hash": round(middle["inspect"] / middle["hash"], 3),
        "inspect_imports_torch": told["torch"],
    }
    return {
        "what": "inspect",
        "megabytes": round(model.stat().st_size / MEGABYTE, 1),
        "seconds": {name: round(value, 4) for name, value in middle.items()},
        "summary": summary,
    }


def scan(model: Path, rounds: int) -> dict[str, Any]:
    """Seconds of the command beyond those of importing torch; peaks of its parts in one process."""
    torch_alone, command, told = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds):
            torch_alone.append(wall(sys.executable, "-c", "import torch"))
            words = ("scan", model, "--policy", "default", "--out", f"{folder}/command-{turn}")
            command.append(wall(GATEKEEPER, *words, code=UNDECIDED, cwd=folder))
            told.append(json.loads(python(SCAN, model, f"{folder}/{turn}").splitlines()[-1]))
    size = model.stat().st_size / 1024  # KiB, as the kernel counts memory
    return {
        "what": "scan of a ResNet-50 without clean images",
        "seconds": {
            "import torch": round(median(torch_alone), 3),
            "command": round(median(command), 3),
            "of its parts, one after another": {
                name: round(median(run[name] for run in told), 3) for name in PARTS
            },
        },
        "summary": {
            "scan_seconds_beyond_torch": round(median(command) - median(torch_alone), 3),
            "peak_memory_over_file": round(max(run["peak"] for run in told) / size, 3),
            "quarantine_peak_over_file": round(int(python(QUARANTINE, model)) / size, 3),
        },
    }


def wall(*command: str | Path, code: int = 0, cwd: str | None = None) -> float:
    """Seconds from the start of a process to its end, which must be with exit code `code`."""
    began = time.perf_counter()
    done = subprocess.run(list(map(str, command)), check=False, capture_output=True, cwd=cwd)
    seconds = time.perf_counter() - began
    if done.returncode != code:
        raise SystemExit(f"exit code {done.returncode} of {command}: {done.stderr.decode()}")
    return seconds


def python(code: str, *words: str | Path) -> str:
    """Run `code` in a fresh interpreter and give what it printed."""
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
