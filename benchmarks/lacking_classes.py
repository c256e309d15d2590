"""What becomes of classes that the clean images lack? Each method on eight of 43 left out.

The backdoored network of GTSRB (badnets, seed 0) of the purification benchmark, and its clean
images without those of eight classes drawn by chance, or with one of each. Recall of these classes
is measured on test images, as true attack success is, after the purifier is done.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from environment import environment, write
from purification import PROFILES, Cell, clean_images, measured, purified
from purification_summary import METHODS
from victims import ROOT, read_data, victim

from gatekeeper.model import Images, Model
from gatekeeper.training import predictions

CELL = Cell(data="gtsrb", attack="badnets", rate=0.10, budget="5%", seed=0)
LEFT_OUT = 8
SEED = 3  # of the classes


def without(clean: Images, classes: torch.Tensor, left: int) -> Images:
    """Keep the first `left` images of each of `classes`, and all of the others."""
    keep = torch.ones(len(clean), dtype=torch.bool)
    for label in classes.tolist():
        keep[(clean.labels == label).nonzero().flatten()[left:]] = False
    return clean.select(keep)


def recall(model: Model, test: Images, classes: torch.Tensor) -> float:
    """Give the mean share in [0, 1] of the images of each of `classes` that are right."""
    right = predictions(model, test) == test.labels
    return float(torch.stack([right[test.labels == k].float().mean() for k in classes]).mean())


def main() -> None:
    """Print and keep a row for each method and number of images left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "gtsrb")
    data = read_data(parser.parse_args().data, PROFILES["cpu"])
    held = victim(data, PROFILES["cpu"], CELL.attack, CELL.rate, CELL.seed)
    count = len(data.clean.classes)
    classes = torch.randperm(count, generator=torch.Generator().manual_seed(SEED))[:LEFT_OUT]
    others = torch.tensor([k for k in range(count) if k not in classes.tolist()])
    rows: list[dict[str, Any]] = []
    for left in (0, 1):
        clean = without(clean_images(data, CELL.budget, CELL.seed), classes, left)
        for method in METHODS:
            started = time.perf_counter()
            given: dict[str, Any] = {"model": held.model}
            if method != "none":
                given = purified(method, held.model, clean, CELL, flip=data.flip)
            seconds = round(time.perf_counter() - started, 2)
            network = given["model"]
            rows.append({
                "method": method, "left": left, "images": len(clean),
                "recall": recall(network, data.test, classes),
                "recall_others": recall(network, data.test, others),
                "asr": measured(held, network, data.test)["asr"],
                "kept": given.get("kept"), "attempts": given.get("attempts"),
                "seconds": seconds, "environment": environment(),
            })  # fmt: skip
            print({name: rows[-1][name] for name in ("method", "left", "recall", "asr", "seconds")})
    summary = {
        f"recall_{row['method']}": round(row["recall"], 4) for row in rows if row["left"] == 0
    }
    write("lacking-classes", summary=summary, rows=rows)


if __name__ == "__main__":
    main()
