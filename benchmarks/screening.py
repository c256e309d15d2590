"""What does each screen see of a network? Every member of the zoo, before and after the fact.

Each row holds the raw values of all screens, so that scores and thresholds can be drawn from them
without another run. A row is written when it is done, so a run that was stopped goes on where it
was, and a new screen looks at the networks of earlier runs without the others looking again.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import math
import random
import time
from collections.abc import Callable
from typing import Any

from environment import RESULTS, environment
from zoo import Kept, Member, kept, members

from gatekeeper.data import split
from gatekeeper.errors import StepError
from gatekeeper.inversion import invert
from gatekeeper.margins import maximum_margins
from gatekeeper.model import Images, Model
from gatekeeper.perturbation import universal_by_class
from gatekeeper.screening import ChannelLipschitz, LastLayer, NeuronNorm, PairInversion
from gatekeeper.shifts import least_shifts
from gatekeeper.training import accuracy
from gatekeeper.untargeted import divert

PATH = RESULTS / "screening.json"
COMMAND = "python benchmarks/screening.py"
HELD = 500  # clean images that the gate's owner holds
PLANTED, GONE = 0.5, 0.1  # attack success from which, and below which, a network counts
_SEED = 0


SCREENS: dict[str, Callable[[Model, Images], Any]] = {
    "gate_accuracy": lambda model, clean: accuracy(model, clean),
    "neuron_norm": lambda model, _: NeuronNorm()(model)[0].score,
    "channel_lipschitz": lambda model, _: ChannelLipschitz()(model)[0].score,
    "last_layer": lambda model, _: LastLayer()(model)[0].score,
    "margins": lambda model, _: _plain(maximum_margins(model, seed=_SEED).tolist()),
    "areas": lambda model, clean: _areas(model, clean),
    "obeyed": lambda model, clean: universal_by_class(model, clean, seed=_SEED)[1].tolist(),
    "careful": lambda model, clean: _pairs(model, clean),
    "diversion": lambda model, clean: _diversion(model, clean),
    "shifts_near": lambda model, clean: _shifts(model, clean, 0.35),
    "shifts_far": lambda model, clean: _shifts(model, clean, 0.65),
}


def look(entry: dict[str, Any], held: Kept) -> None:
    """Add to `entry` what the screens see that did not look yet, and their seconds."""
    share = min(1.0, HELD / len(held.held))
    clean = held.held if share == 1 else split(held.held, seed=_SEED, first=share)[0]
    for name in [name for name in SCREENS if name not in entry]:
        started = time.perf_counter()
        try:
            entry[name] = SCREENS[name](held.model, clean)
        except StepError as error:  # a screen that cannot serve a network is a result, too
            entry[name] = None
            entry[f"{name}_failed"] = str(error)
        entry["seconds"][name] = round(time.perf_counter() - started, 2)


def _areas(model: Model, clean: Images) -> list[float | None]:
    """Share of the image that forces each class; None where inversion did not reach it."""
    found = invert(model, clean, seed=_SEED)
    return [round(trigger.area, 5) if trigger.reached else None for trigger in found]


def _pairs(model: Model, clean: Images) -> list[tuple[int, int, float]]:
    """(source, target, share of the image) of the pairs looked at with care, smallest first."""
    result, _ = PairInversion(seed=_SEED)(model, clean)
    return [(pair.source, pair.target, round(pair.area, 5)) for pair in result.pairs]


def _diversion(model: Model, clean: Images) -> dict[str, Any]:
    found = divert(model, clean, seed=_SEED)
    return {
        "area": round(found.area, 5) if found.reached else None, "success": found.success,
        "destinations": found.destinations, "together": found.together,
    }  # fmt: skip


def _shifts(model: Model, clean: Images, depth: float) -> list[float | None] | None:
    lengths = least_shifts(model, clean, seed=_SEED, depth=depth)
    return None if lengths is None else _plain(lengths.tolist())


def _plain(values: list[float]) -> list[float | None]:
    return [round(value, 3) if math.isfinite(value) else None for value in values]


def row(member: Member, held: Kept) -> dict[str, Any]:
    """Say what a member is, and what its attack does."""
    repaired = member.way == "repaired"
    kind = "clean"
    if held.success is not None:
        kind = "backdoored" if held.success >= PLANTED and not repaired else "left out"
        if repaired and held.success < GONE:
            kind = "clean"
    return {
        "member": member.name, **vars(member), "kind": kind, "accuracy": held.accuracy,
        "success": held.success, "target": held.target, "source": held.source,
        "classes": len(held.model.classes), "seconds": {},
    }  # fmt: skip


def written() -> dict[str, Any]:
    """What earlier runs wrote."""
    return json.loads(PATH.read_text(encoding="utf-8")) if PATH.exists() else {"rows": []}


def done() -> list[dict[str, Any]]:
    """Rows of earlier runs."""
    rows: list[dict[str, Any]] = written()["rows"]
    return rows


def keep(fresh: dict[str, Any]) -> None:
    """Put a row in its place, also where another part of the run does so at the same time."""
    with PATH.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fresh["environment"] = environment()
        content = written()
        rows = {entry["member"]: entry for entry in content["rows"]} | {fresh["member"]: fresh}
        content |= {"rows": [*rows.values()], "environment": environment(), "command": COMMAND}
        partial = PATH.with_suffix(".partial")
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        partial.replace(PATH)


def _complete(entry: dict[str, Any]) -> bool:
    return entry["kind"] == "left out" or all(name in entry for name in SCREENS)


def main() -> None:
    """Do what is missing; `--part 1/2` and `--part 2/2` may run beside each other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", default="1/1", help="which share of the members")
    parser.add_argument("--train", action="store_true", help="train the members and stop there")
    given = parser.parse_args()
    number, parts = map(int, given.part.split("/"))
    everyone = [*members()]
    random.Random(0).shuffle(everyone)  # so that a part of the zoo is like the whole
    for member in everyone[number - 1 :: parts]:
        known = {entry["member"]: entry for entry in done()}
        if member.name in known and _complete(known[member.name]):
            continue
        started = time.perf_counter()
        held = kept(member)
        if given.train:
            print(f"{member.name}: {held.accuracy:.2f} {held.success}", flush=True)
            continue
        entry = known.get(member.name, row(member, held))
        if entry["kind"] != "left out":
            look(entry, held)
        keep(entry)
        success = "" if entry["success"] is None else f", attack {entry['success']:.2f}"
        took = time.perf_counter() - started
        told = f"{entry['kind']}, accuracy {entry['accuracy']:.2f}{success}, {took:.0f} s"
        print(f"{member.name}: {told}", flush=True)


if __name__ == "__main__":
    main()
