"""Networks without BatchNorm, trained as others train them: what do purifiers leave, and take?

Handwritten digits (MNIST), Adam from the usual start, no augmentation, and pixels in [0, 1] or as
raw as 0 to 255: one step does not fit them all. The purifier gets 2,000 clean images; accuracy and
true attack success are measured on test images afterwards. Fully connected networks of the 1,797
digits of scikit-learn, 900 to train on and 500 clean ones, show what fewer images do. A row is
written when it is done, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
import torch.nn.functional as F
from environment import RESULTS, write
from purification import Cell, row, told
from purification_summary import PLANTED
from torch import nn
from victims import ROOT, SHOWN, Data, Setting, Victim, read_data

from gatekeeper.candidate.networks import BUILT_IN
from gatekeeper.data import split
from gatekeeper.handwriting import handwriting
from gatekeeper.model import Images, Model
from gatekeeper.records import InputSpec
from gatekeeper.redteam import ATTACKS
from gatekeeper.training import Recipe

NAME = "bare-networks"
METHODS = ("none", "ft", "ft-sam", "auto")
PLANTS = ("none", "badnets", "blended", "low-frequency")
RATE = 0.10
_LEARNING_RATE = 1e-3  # of Adam
_TRAINED_ON = 900  # of the few digits; the rest is held
_SETTING = Setting(
    architecture="", train_images=20_000, test_images=4_000, recipe=Recipe(epochs=0, lr=0)
)


def dropped(channels: int, height: int, width: int, num_classes: int) -> nn.Module:
    """Build two convolutions and two linear layers with dropout, as tutorials do."""
    flat = 32 * (height // 4) * (width // 4)
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Dropout(0.25), nn.Flatten(),
        nn.Linear(flat, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, num_classes),
    )  # fmt: skip


NETWORKS: dict[str, Callable[[int, int, int, int], nn.Module]] = {
    "lenet": BUILT_IN["gatekeeper:lenet"],
    "dropout": dropped,
    "mlp": BUILT_IN["gatekeeper:mlp"],
}
RANGES = {"0..1": 1.0, "0..255": 255.0}  # largest value of a pixel


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How many images there are, and how long is trained on them."""

    note: str  # in the name of a row
    epochs: int
    batch: int
    clean: int  # images that the purifier gets


MANY = Scale(note="", epochs=5, batch=128, clean=2_000)
FEW = Scale(note=", few images", epochs=20, batch=32, clean=500)


@dataclass(frozen=True, kw_only=True)
class Member:
    """One network of the benchmark; attack "none" is never poisoned."""

    network: str
    pixels: str
    attack: str
    scale: Scale = MANY
    seed: int = 0

    @property
    def cell(self) -> Cell:
        """Give what the purification benchmark calls it."""
        return Cell(
            data=f"{self.network}, {self.pixels}{self.scale.note}", attack=self.attack, rate=RATE,
            budget=str(self.scale.clean), seed=self.seed,
        )  # fmt: skip


def members() -> Iterator[Member]:
    """Give all members."""
    for attack in PLANTS:
        for pixels in RANGES:
            for network in NETWORKS:
                yield Member(network=network, pixels=pixels, attack=attack)
    for attack in PLANTS:
        for pixels in RANGES:
            yield Member(network="mlp", pixels=pixels, attack=attack, scale=FEW)


def few_images() -> Data:
    """Give the digits of scikit-learn, those to train on first."""
    digits = handwriting()
    clean = digits.select(torch.arange(_TRAINED_ON, _TRAINED_ON + FEW.clean))
    return Data(
        name="digits", train=digits.select(torch.arange(_TRAINED_ON)), clean=clean,
        test=digits.select(torch.arange(_TRAINED_ON + FEW.clean, len(digits))), flip=False,
    )  # fmt: skip


def victim(member: Member, data: Data) -> Victim:
    """Train a member."""
    size = tuple(data.train.pixels.shape[1:])
    spec = InputSpec(size=size, mean=(0.0,), std=(1 / RANGES[member.pixels],))
    with torch.random.fork_rng():
        torch.manual_seed(member.seed)
        network = NETWORKS[member.network](*size, len(data.train.classes))
        model = Model(
            network=network, input=spec, classes=data.train.classes, architecture=member.network
        )
        if member.attack == "none":
            _train(model, data.train, member.scale)
            return Victim(
                model=model, triggered=data.test.select(torch.arange(0)),
                wanted=data.test.labels[:0],
            )  # fmt: skip
        attack = ATTACKS[member.attack](rate=RATE)
        _train(model, attack.poison(data.train, seed=member.seed), member.scale)
    triggered = attack.triggered(data.test)
    triggered = triggered.select(torch.arange(0, len(triggered), max(1, len(triggered) // SHOWN)))
    return Victim(model=model, triggered=triggered, wanted=attack.wanted(triggered.labels))


def _train(model: Model, images: Images, scale: Scale) -> None:
    view = model.pixels_to_logits().train()
    optimiser = torch.optim.Adam(view.parameters(), lr=_LEARNING_RATE)
    for _ in range(scale.epochs):
        for batch in torch.randperm(len(images)).split(scale.batch):
            loss = F.cross_entropy(view(images.select(batch).floats()), images.labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    model.network.eval()


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Give the means and the worst of each method, over the networks that all methods served."""
    found = {}
    for method in METHODS:
        whole = [one for one in rows if one["method"] == method]
        backdoored = [one for one in whole if (one["asr_before"] or 0) >= PLANTED]
        if not backdoored:
            continue
        lost = [one["accuracy_drop"] for one in backdoored]
        twins = [one["accuracy_drop"] for one in whole if one["asr_before"] is None]
        found[method] = {
            "victims": len(backdoored),
            "mean_asr": round(mean(one["asr"] for one in backdoored), 4),
            "max_asr": max(one["asr"] for one in backdoored),
            "mean_accuracy_drop": round(mean(lost), 4),
            "max_accuracy_drop": round(max(lost), 4),
            "mean_der": round(mean(one["der"] for one in backdoored), 4),
            "twin_drop": round(mean(twins), 4) if twins else None,
        }
    return found


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "mnist")
    many = read_data(parser.parse_args().data, _SETTING)
    part = split(many.clean, seed=0, first=MANY.clean / len(many.clean))[0]
    few = few_images()
    given = {MANY: (many, part), FEW: (few, few.clean)}
    path = RESULTS / f"{NAME}.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    for member in members():
        cell = member.cell
        known = {one["method"] for one in rows if one["data"] == cell.data
                 and one["attack"] == cell.attack}  # fmt: skip
        missing = [method for method in METHODS if method not in known]
        if not missing:
            continue
        data, clean = given[member.scale]
        held = victim(member, data)
        for method in missing:
            rows.append(row(method, cell, held, clean, data))
            print(told(rows[-1]), flush=True)
            write(NAME, summary=summary(rows), rows=rows, quiet=True)


if __name__ == "__main__":
    main()
