"""What does each screen see of a network? Every member of the zoo, before and after the fact.

Each row holds the raw values of all screens, so that scores and thresholds can be drawn from them
without another run; it is written when it is done, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import math
import time
from collections.abc import Callable
from typing import Any

from environment import RESULTS, environment
from zoo import Kept, Member, kept, members

from gatekeeper.data import split
from gatekeeper.errors import StepError
from gatekeeper.margins import maximum_margins
from gatekeeper.model import Images, Model
from gatekeeper.pair_search import pair_areas
from gatekeeper.perturbation import universal_by_class
from gatekeeper.screening import ChannelLipschitz, LastLayer, NeuronNorm
from gatekeeper.training import accuracy
from gatekeeper.triggers import invert

PATH = RESULTS / "screening.json"
COMMAND = "python benchmarks/screening.py"
HELD = 500  # clean images that the gate's owner holds
PLANTED, GONE = 0.5, 0.1  # attack success from which, and below which, a network counts
MOST_PAIRS = 400
_SEED = 0


def seen(model: Model, clean: Images) -> dict[str, Any]:
    """Give the raw values of every screen, and how long each took in seconds."""
    screens: dict[str, Callable[[], Any]] = {
        "neuron_norm": lambda: NeuronNorm()(model)[0].score,
        "channel_lipschitz": lambda: ChannelLipschitz()(model)[0].score,
        "last_layer": lambda: LastLayer()(model)[0].score,
        "margins": lambda: _plain(maximum_margins(model, seed=_SEED).tolist()),
        "areas": lambda: _areas(model, clean),
        "obeyed": lambda: universal_by_class(model, clean, seed=_SEED)[1].tolist(),
        "pairs": lambda: _pairs(model, clean),
    }
    values: dict[str, Any] = {}
    seconds: dict[str, float] = {}
    for name, look in screens.items():
        started = time.perf_counter()
        try:
            values[name] = look()
        except StepError as error:  # a screen that cannot serve a network is a result, too
            values[name] = None
            values[f"{name}_failed"] = str(error)
        seconds[name] = round(time.perf_counter() - started, 2)
    return {**values, "seconds": seconds}


def _areas(model: Model, clean: Images) -> list[float | None]:
    """Share of the image that forces each class; None where inversion did not reach it."""
    found = invert(model, clean, seed=_SEED)
    return [round(trigger.area, 5) if trigger.reached else None for trigger in found]


def _pairs(model: Model, clean: Images) -> list[tuple[int, int, float]] | None:
    """(source, target, share of the image), smallest first; None where there are too many."""
    if len(model.classes) * (len(model.classes) - 1) > MOST_PAIRS:
        return None
    needed = pair_areas(model, clean, seed=_SEED)
    order = sorted((area, pair) for pair, area in needed.items() if math.isfinite(area))
    return [(*pair, round(area, 5)) for area, pair in order]


def _plain(values: list[float]) -> list[float | None]:
    return [round(value, 3) if math.isfinite(value) else None for value in values]


def row(member: Member) -> dict[str, Any]:
    """Make or fetch a member, and look at it."""
    held: Kept = kept(member)
    share = min(1.0, HELD / len(held.held))
    clean = held.held if share == 1 else split(held.held, seed=_SEED, first=share)[0]
    poisoned = held.success is not None
    kind = "clean"
    if poisoned and held.success is not None:
        repaired = member.way == "repaired"
        planted = held.success >= PLANTED and not repaired
        kind = (
            "backdoored" if planted else "clean" if repaired and held.success < GONE else "left out"
        )
    entry = {
        "member": member.name, **vars(member), "kind": kind, "accuracy": held.accuracy,
        "success": held.success, "target": held.target, "source": held.source,
        "classes": len(held.model.classes),
    }  # fmt: skip
    if kind == "left out":
        return entry
    return {**entry, "gate_accuracy": accuracy(held.model, clean), **seen(held.model, clean)}


def done() -> list[dict[str, Any]]:
    """Rows of earlier runs."""
    return json.loads(PATH.read_text(encoding="utf-8"))["rows"] if PATH.exists() else []


def keep(fresh: dict[str, Any]) -> None:
    """Add a row, also where another part of the run does so at the same time."""
    with PATH.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        content = {"rows": [*done(), fresh], "environment": environment(), "command": COMMAND}
        partial = PATH.with_suffix(".partial")
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        partial.replace(PATH)


def main() -> None:
    """Run what is missing; `--part 1/2` and `--part 2/2` may run beside each other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", default="1/1", help="which share of the members")
    number, parts = map(int, parser.parse_args().part.split("/"))
    for place, member in enumerate(members()):
        if place % parts != number - 1 or member.name in {entry["member"] for entry in done()}:
            continue
        started = time.perf_counter()
        fresh = row(member)
        keep(fresh)
        success = "" if fresh["success"] is None else f", attack {fresh['success']:.2f}"
        took = time.perf_counter() - started
        print(
            f"{member.name}: {fresh['kind']}, accuracy {fresh['accuracy']:.2f}{success}, "
            f"{took:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
