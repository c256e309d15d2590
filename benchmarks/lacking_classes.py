"""What becomes of classes that the clean images lack? Each method on eight of 43 left out.

The backdoored network of GTSRB (badnets, seed 0) of the purification benchmark, and its clean
images without those of eight classes drawn by chance, or with one of each. Recall of these classes
is measured on test images, as true attack success is, after the purifier is done.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from environment import RESULTS, environment, write
from purification import PROFILES, Cell, clean_images, measured, purified
from purification_summary import METHODS
from torch import Tensor
from victims import ROOT, Data, Victim, read_data, victim

from gatekeeper.model import Images, Model
from gatekeeper.training import predictions

NAME = "lacking-classes"
CELL = Cell(data="gtsrb", attack="badnets", rate=0.10, budget="5%", seed=0)
LEFT_OUT = 8
SEED = 3  # of the classes


def without(clean: Images, classes: Tensor, left: int) -> Images:
    """Keep the first `left` images of each of `classes`, and all of the others."""
    keep = torch.ones(len(clean), dtype=torch.bool)
    for label in classes.tolist():
        keep[(clean.labels == label).nonzero().flatten()[left:]] = False
    return clean.select(keep)


def recall(model: Model, test: Images, classes: Tensor) -> float:
    """Give the mean share in [0, 1] of the images of each of `classes` that are right."""
    right = predictions(model, test) == test.labels
    return float(torch.stack([right[test.labels == k].float().mean() for k in classes]).mean())


def row(method: str, left: int, held: Victim, data: Data, classes: Tensor) -> dict[str, Any]:
    """Purify once with `left` images of each of `classes`, and measure on test images."""
    others = torch.tensor([k for k in range(len(data.clean.classes)) if k not in classes.tolist()])
    clean = without(clean_images(data, CELL.budget, CELL.seed), classes, left)
    started = time.perf_counter()
    given: dict[str, Any] = {"model": held.model}
    if method != "none":
        given = purified(method, held.model, clean, CELL, flip=data.flip)
    seconds = round(time.perf_counter() - started, 2)
    network = given["model"]
    return {
        "method": method, "left": left, "images": len(clean),
        "recall": recall(network, data.test, classes),
        "recall_others": recall(network, data.test, others),
        "asr": measured(held, network, data.test)["asr"],
        "kept": given.get("kept"), "attempts": given.get("attempts"),
        "seconds": seconds, "environment": environment(),
    }  # fmt: skip


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Give, without any image of the classes, their recall and the attack's success by method."""
    lacking = [one for one in rows if one["left"] == 0]
    return {
        f"{name}_{one['method']}": round(one[name], 4)
        for name in ("recall", "asr") for one in lacking
    }  # fmt: skip


def main() -> None:
    """Make the rows that are missing; each is kept when it is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "gtsrb")
    data = read_data(parser.parse_args().data, PROFILES["cpu"])
    held = victim(data, PROFILES["cpu"], CELL.attack, CELL.rate, CELL.seed)
    order = torch.randperm(len(data.clean.classes), generator=torch.Generator().manual_seed(SEED))
    path = RESULTS / f"{NAME}.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    for left in (0, 1):
        for method in METHODS:
            if any((one["method"], one["left"]) == (method, left) for one in rows):
                continue
            rows.append(row(method, left, held, data, order[:LEFT_OUT]))
            told = ("method", "left", "recall", "asr", "kept", "seconds")
            print({name: rows[-1][name] for name in told}, flush=True)
            write(NAME, summary=summary(rows), rows=rows, quiet=True)


if __name__ == "__main__":
    main()
