"""Which purifier removes which backdoor, at what cost? Every attack against every method.

The defender sees clean images and the network; true attack success is measured afterwards. Each
row is written when it is done, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from environment import RESULTS, environment
from purification_summary import METHODS, PLANTED, summarise
from victims import ROOT, Data, Setting, Victim, read_data, victim

from gatekeeper.data import split
from gatekeeper.model import Images, Model
from gatekeeper.policy import read_policy
from gatekeeper.purification import FTSAM, FeatureShift, FineTune, SuperFineTune, WeightMasking
from gatekeeper.purification.auto import Auto
from gatekeeper.redteam import ATTACKS
from gatekeeper.steps.choosing import trial_of
from gatekeeper.training import Recipe, accuracy, predictions
from gatekeeper.verification.durability import Suspects, along_the_path, reactivated, retuned
from gatekeeper.verification.sequela import sequela

PROFILES = {
    "cpu": Setting(
        architecture="gatekeeper:small-resnet", train_images=20_000, test_images=4_000,
        recipe=Recipe(epochs=20, lr=0.1, batch=128, crop_padding=2),
    ),
    "gpu": Setting(
        architecture="gatekeeper:preact-resnet18", train_images=47_500, test_images=9_000,
        recipe=Recipe(epochs=60, lr=0.1, batch=128, crop_padding=4), device="cuda",
    ),
}  # fmt: skip
QUICK = ("trojan", "blended", "low-frequency")  # badnets does not take on so few images
QUICK_SHARE = 0.25  # of the training images, and so of the clean ones, that a quick run takes
HEADLINE = (0.10, "5%")
BESIDE = ("badnets", "blended", "trojan", "low-frequency", "adaptive")  # in the other cells
BUDGETS = {"5%": 0.05, "1%": 0.01, "one": 0.0}  # share of the training images; one of each class


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One victim and one amount of clean images."""

    data: str
    attack: str
    rate: float
    budget: str
    seed: int


def cells(sets: list[str], quick: bool) -> Iterator[Cell]:
    """All cells, the most telling first."""
    attacks = ("none", *(QUICK if quick else ATTACKS))
    for seed in (0,) if quick else (0, 1, 2):
        for data in sets:
            for attack in attacks:
                yield Cell(data=data, attack=attack, rate=0.10, budget="5%", seed=seed)
        if seed == 0 and not quick:
            for data in sets:
                for attack in ("none", *BESIDE):
                    yield Cell(data=data, attack=attack, rate=0.10, budget="1%", seed=0)
                    yield Cell(data=data, attack=attack, rate=0.10, budget="one", seed=0)
                    if attack != "none":
                        yield Cell(data=data, attack=attack, rate=0.01, budget="5%", seed=0)


def clean_images(data: Data, budget: str, seed: int) -> Images:
    """Draw what the gate's owner holds: images that no victim was trained on, by class."""
    if budget == "one":
        order = torch.randperm(len(data.clean), generator=torch.Generator().manual_seed(seed))
        labels = data.clean.labels[order]
        first = [int((labels == k).nonzero()[0, 0]) for k in range(len(data.clean.classes))]
        return data.clean.select(order[first])
    share = BUDGETS[budget] * len(data.train) / len(data.clean)
    return split(data.clean, seed=seed, first=share)[0]


def purified(method: str, model: Model, clean: Images, cell: Cell, *, flip: bool) -> dict[str, Any]:
    """Give the network that `method` leaves, and what was chosen; the candidate where none is."""
    if method == "auto":
        return _by_auto(model, clean, cell)
    signs = cell.data == "gtsrb"
    published: dict[str, Callable[[], Any]] = {
        "ft": lambda: FineTune(epochs=100, batch=256, crop_padding=4, flip=flip),
        "super-ft": lambda: SuperFineTune(crop_padding=4, flip=flip),
        "fst": lambda: FeatureShift(crop_padding=4, flip=flip),
        "awm": lambda: (
            WeightMasking.one_shot() if cell.budget == "one" else WeightMasking(flip=flip)
        ),
        "ft-sam": lambda: (
            FTSAM(rho=8.0, label_smoothing=0.0, epochs=50) if signs else FTSAM(flip=flip)
        ),
    }
    network, told = published[method]()(model, clean, seed=cell.seed)
    return {"model": network, "chosen": told.settings}


def _by_auto(model: Model, clean: Images, cell: Cell) -> dict[str, Any]:
    policy = read_policy("one-shot" if cell.budget == "one" else "default")
    # A small network is not good enough in itself; what it may lose is what counts here.
    require = {name: b for name, b in policy.require.items() if name != "clean_accuracy"}
    auto = Auto()
    _, validation = auto.divide(clean, cell.seed)
    trial = trial_of(
        model, validation, require,
        trigger_area=policy.require["smallest_trigger_area"].at_least or 0.0,
        min_samples_per_class=policy.min_samples_per_class, seed=cell.seed,
    )  # fmt: skip
    network, told = auto(model, clean, seed=cell.seed, trial=trial)
    tries = [f"{a.method} {a.settings.get('lr')} {a.outcome}: {a.message}" for a in told.attempts]
    return {
        "model": network or model, "chosen": told.settings, "kept": network is not None,
        "attempts": tries, "stopped_because": told.stopped_because,
    }  # fmt: skip


def measured(held: Victim, network: Model, test: Images) -> dict[str, float | None]:
    """Accuracy, true attack success and robust accuracy of `network`, each in [0, 1]."""
    shown = held.triggered
    if not len(shown):
        return {"acc": accuracy(network, test), "asr": None, "ra": None}
    answers = predictions(network, shown)
    return {
        "acc": accuracy(network, test),
        "asr": float((answers == held.wanted).float().mean()),
        "ra": float((answers == shown.labels).float().mean()),
    }


def row(
    method: str, cell: Cell, held: Victim, clean: Images, data: Data, *, quick: bool = False
) -> dict[str, Any]:
    """Purify once and measure before and after; a `quick` row goes without the aftermath."""
    before = measured(held, held.model, data.test)
    started = time.perf_counter()
    given: dict[str, Any] = {"model": held.model, "chosen": {}}
    if method != "none":
        try:
            given = purified(method, held.model, clean, cell, flip=data.flip)
        except Exception as error:  # a method that cannot serve the cell is a result, too
            given |= {"failed": f"{type(error).__name__}: {error}"}
    seconds = time.perf_counter() - started
    network = given.pop("model")
    after = measured(held, network, data.test)
    headline = (cell.rate, cell.budget) == HEADLINE and "failed" not in given
    asked = headline and not quick
    beside = aftermath(held, network, clean, data, cell.seed) if asked else {}
    lost = (before["acc"] or 0) - (after["acc"] or 0)
    gone = None if before["asr"] is None else before["asr"] - (after["asr"] or 0)
    der = None if gone is None else (max(0.0, gone) - max(0.0, lost) + 1) / 2
    return {
        **vars(cell), "method": method, "images": len(clean),
        "acc_before": before["acc"], "asr_before": before["asr"], **after,
        "accuracy_drop": lost, "der": der, "seconds": round(seconds, 2), **beside, **given,
    }  # fmt: skip


def aftermath(
    held: Victim, network: Model, clean: Images, data: Data, seed: int
) -> dict[str, float | None]:
    """Sequela and durability of one network, the true trigger at hand."""
    members, others = (
        spread(images, 1000).to(network.device) for images in (data.train, data.test)
    )
    found = list(sequela(network, members, others, seed=seed).values())
    if len(held.triggered):
        few = torch.arange(0, len(held.triggered), 4)
        suspects = Suspects(images=held.triggered.select(few), wanted=held.wanted[few])
        found += [retuned(network, clean, suspects, seed=seed), reactivated(network, suspects)]
        found.append(along_the_path(held.model, network, suspects))
    return {measure.name: measure.value for measure in found}


def spread(images: Images, most: int) -> Images:
    """Keep about `most` of the images, evenly."""
    return images.select(torch.arange(0, len(images), max(1, len(images) // most)))


def keep(path: Path, fresh: dict[str, Any], command: str) -> None:
    """Add a row to the results, also where another part of the run does so at the same time."""
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fresh = {**fresh, "environment": environment()}
        write(path, [*(entry for entry in done(path) if key(entry) != key(fresh)), fresh], command)


def write(path: Path, rows: list[dict[str, Any]], command: str, **more: float) -> None:
    """Write rows, what they come to, and what `more` is known of the run."""
    content = {
        "summary": summarise(rows), **more, "rows": rows, "environment": environment(),
        "command": command,
    }  # fmt: skip
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def done(path: Path) -> list[dict[str, Any]]:
    """Rows of earlier runs."""
    return json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []


def key(entry: dict[str, Any]) -> tuple[Any, ...]:
    """What makes a row."""
    return tuple(entry[name] for name in ("data", "attack", "rate", "budget", "seed", "method"))


def main() -> None:
    """Run what is missing; `--part 1/2` and `--part 2/2` may run beside each other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", choices=PROFILES, default="cpu")
    parser.add_argument(
        "--quick", action="store_true", help="three attacks, one seed, one set, fewer images"
    )
    parser.add_argument("--data", type=Path, nargs="+", help="folders with train/ and test/")
    parser.add_argument("--again", choices=METHODS, help="drop this method's rows first")
    parser.add_argument("--part", default="1/1", help="which share of the cells")
    given = parser.parse_args()
    packs = ROOT.parent / "shared" / "data"
    roots = {root.name: root for root in given.data or [packs / "cifar10", packs / "gtsrb"]}
    names = list(roots)[:1] if given.quick else list(roots)
    setting = PROFILES[given.profile]
    if given.quick:
        setting = replace(setting, train_images=int(QUICK_SHARE * setting.train_images))
    path = RESULTS / f"purification-{given.profile}{'-quick' if given.quick else ''}.json"
    command = f"python benchmarks/purification.py --profile {given.profile}"
    command += " --quick" if given.quick else ""
    if given.again:
        rows = [entry for entry in done(path) if entry["method"] != given.again]
        write(path, rows, command)
    number, parts = map(int, given.part.split("/"))
    started, whole = time.perf_counter(), parts == 1 and not done(path)
    sets: dict[str, Data] = {}
    for cell in cells(names, given.quick):
        if hash_of(cell) % parts != number - 1:
            continue
        known = {key(entry) for entry in done(path)}
        missing = [m for m in METHODS if key({**vars(cell), "method": m}) not in known]
        if not missing:
            continue
        if cell.data not in sets:
            sets[cell.data] = read_data(roots[cell.data], setting)
        data = sets[cell.data]
        held = victim(data, setting, cell.attack, cell.rate, cell.seed)
        held = replace(held, triggered=held.triggered.to(setting.device))
        clean = clean_images(data, cell.budget, cell.seed).to(setting.device)
        if not planted(held):
            missing = [method for method in missing if method == "none"]
        for method in missing:
            fresh = row(method, cell, held, clean, data, quick=given.quick)
            keep(path, fresh, command)
            print(told(fresh), flush=True)
    if whole:  # in one go, so that what it took means something
        minutes = round((time.perf_counter() - started) / 60, 1)
        write(path, done(path), command, minutes=minutes)
        print(f"{minutes} minutes")


def planted(held: Victim) -> bool:
    """Tell whether there is a backdoor to remove: some attacks ask more than a small network has.

    Such a victim keeps its row `none`, which says so.
    """
    success = measured(held, held.model, held.triggered)["asr"]
    return success is None or success >= PLANTED


def hash_of(cell: Cell) -> int:
    """Spread victims, not budgets: the cells of one victim stay together."""
    return sum(map(ord, f"{cell.data}{cell.attack}{cell.rate}")) + cell.seed


def told(entry: dict[str, Any]) -> str:
    """One line of progress."""
    asr = "-" if entry["asr"] is None else f"{100 * entry['asr']:.1f}"
    was = "-" if entry["asr_before"] is None else f"{100 * entry['asr_before']:.1f}"
    return (
        f"{entry['data']} {entry['attack']} {entry['rate']} {entry['budget']} s{entry['seed']} "
        f"{entry['method']}: acc {100 * entry['acc_before']:.1f} -> {100 * entry['acc']:.1f}, "
        f"asr {was} -> {asr}, {entry['seconds']} s {entry.get('failed', '')}"
    )


if __name__ == "__main__":
    main()
