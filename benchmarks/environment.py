"""What a benchmark ran on, and how its result is written down."""

from __future__ import annotations

import json
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def environment() -> dict[str, Any]:
    """Name hardware, versions and the day; no host name, no path."""
    import torch

    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": _cpu(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": version("torch"),
        "gatekeeper": _gatekeeper(),
    }


def command() -> str:
    """Give what was typed to run this benchmark, without the folders of this machine."""
    typed = [_without_folders(word) for word in sys.argv[1:]]
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *typed])


def _without_folders(word: str) -> str:
    name, equals, value = word.rpartition("=")
    outside = value.startswith(("/", "~", ".."))
    return f"{name}{equals}PATH/{Path(value).name}" if outside else word


def write(
    name: str, *, summary: dict[str, Any], rows: list[dict[str, Any]], quiet: bool = False
) -> Path:
    """Write `results/NAME.json`, and print its summary unless `quiet`."""
    content = {
        "summary": summary,
        "rows": rows,
        "environment": environment(),
        "command": command(),
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
    if not quiet:
        print(json.dumps(summary, indent=2))
    return path


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    named = {key.strip(): value.strip() for key, value in facts.items()}
    half = " with avx512_bf16" if "avx512_bf16" in named.get("flags", "") else ""
    return f"{named.get('model name', platform.machine())}{half}"


def _gatekeeper() -> str:
    import gatekeeper

    return gatekeeper.__version__
