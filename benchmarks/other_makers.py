"""Does a scan find the backdoors of networks that are made otherwise than the zoo's?

The score's weights and bound were drawn from networks of `zoo.py`. Those here have other
architectures and are trained as tutorials do: Adam at its usual rate, no augmentation, no decay,
pixels in [0, 1] or as raw as 0 to 255. Each goes as a file of its own through `gatekeeper scan`,
with a card and 500 clean test images, 4,000 of GTSRB, whose rare classes would be too few, under
the default policy without purification. Sizes and places of patches, targets and sources are drawn.
A row is written when it is done, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from calibration_fit import auroc
from environment import RESULTS, command, environment, write
from other_networks import NETWORKS
from torch import Tensor, nn
from victims import ROOT, Data, Setting, read_data

from gatekeeper.data import split
from gatekeeper.intervals import wilson
from gatekeeper.model import Images
from gatekeeper.redteam import ATTACKS, Stamped
from gatekeeper.training import Recipe

NAME = "other-makers"
ROUNDS = (("none", "badnets"), ("none", "blended"), ("none", "badnets-source"))
RATES = (0.10, 0.05)
RANGES = {"mnist": (1.0, 255.0), "gtsrb": (1.0,), "cifar10": (1.0,)}  # largest value of a pixel
EPOCHS = {"mnist": 6, "gtsrb": 12, "cifar10": 12}
CLEAN = {"mnist": 500, "gtsrb": 4_000, "cifar10": 500}  # images that the gate's owner holds
PLANTED = 0.5  # attack success from which a network counts as backdoored
_LEARNING_RATE, _BATCH = 1e-3, 128
_SIZES = (3, 4, 5)  # of patches, in pixels
TRAINED_ON = {"mnist": 20_000, "gtsrb": 10_000, "cifar10": 10_000}  # images
_TEST_IMAGES = 4_000


@dataclass(frozen=True, kw_only=True)
class Member:
    """One network; attack "none" is never poisoned, `largest` is that of a pixel's values."""

    data: str
    network: str
    largest: float
    attack: str
    rate: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Planted:
    """An attack whose patch lies elsewhere: images are moved before it stamps them, and back."""

    attack: Stamped
    moved: tuple[int, int]  # pixels, down and to the right
    target: int
    source: int | None

    def poison(self, images: Images, seed: int) -> Images:
        """Poison some of (N, C, H, W) `images`."""
        return self._back(self.attack.poison(self._there(images), seed=seed))

    def success(self, answer: Callable[[Tensor], Tensor], images: Images) -> float:
        """Give the share of triggered images that get the wanted answer."""
        shown = self._back(self.attack.triggered(self._there(images)))
        return float((answer(shown.pixels) == self.attack.wanted(shown.labels)).float().mean())

    def _there(self, images: Images) -> Images:
        return replace(images, pixels=images.pixels.roll(self.moved, (2, 3)))

    def _back(self, images: Images) -> Images:
        down, right = self.moved
        return replace(images, pixels=images.pixels.roll((-down, -right), (2, 3)))


def members() -> Iterator[Member]:
    """Give all members, those with a plain patch first."""
    number = 0
    for attacks in ROUNDS:
        for data, networks in NETWORKS.items():
            for network in networks:
                for attack in attacks:
                    largest = RANGES[data][number // 2 % len(RANGES[data])]
                    rate = RATES[number // 4 % len(RATES)]
                    yield Member(
                        data=data, network=network, largest=largest, attack=attack, rate=rate,
                        seed=number,
                    )  # fmt: skip
                    number += 1


def planted(member: Member, images: Images) -> Planted | None:
    """Draw size, place, target and source; None for a network that nobody poisons."""
    if member.attack == "none":
        return None
    drawn = random.Random(member.seed)
    classes = range(len(images.classes))
    target = drawn.choice(classes)
    kind = ATTACKS[member.attack]
    known: dict[str, Any] = {
        "rate": member.rate, "target": target, "size": drawn.choice(_SIZES),
        "source": drawn.choice([k for k in classes if k != target]),
    }  # fmt: skip
    settings = {name: known[name] for name in known if name in kind.__dataclass_fields__}
    side = images.pixels.shape[2]
    moved = (drawn.randrange(side - max(_SIZES)), drawn.randrange(side - max(_SIZES)))
    return Planted(
        attack=kind(**settings), moved=moved, target=target, source=settings.get("source")
    )


def trained(member: Member, images: Images) -> nn.Module:
    """Train on (N, C, H, W) `images` as tutorials do."""
    torch.manual_seed(member.seed)
    channels, side = images.pixels.shape[1:3]
    network = NETWORKS[member.data][member.network](channels, side, len(images.classes))
    optimiser = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)
    for _ in range(EPOCHS[member.data]):
        for batch in torch.randperm(len(images)).split(_BATCH):
            loss = F.cross_entropy(
                network(_shown(images.pixels[batch], member)), images.labels[batch]
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return network.eval()


def _shown(pixels: Tensor, member: Member) -> Tensor:
    return pixels.float() / 255 * member.largest


def row(member: Member, data: Data) -> dict[str, Any]:
    """Train a member, measure what only its maker knows, and have it scanned."""
    attack = planted(member, data.train)
    images = attack.poison(data.train, member.seed) if attack else data.train
    network = trained(member, images)

    @torch.no_grad()
    def answer(pixels: Tensor) -> Tensor:
        shown = _shown(pixels, member)
        return torch.cat([network(some).argmax(1) for some in shown.split(_BATCH)])

    right = (answer(data.test.pixels) == data.test.labels).float().mean()
    started = time.perf_counter()
    record = scanned(member, network, data)
    found = record["assessment"]
    return {
        **vars(member), "accuracy": round(float(right), 4),
        "success": round(attack.success(answer, data.test), 4) if attack else None,
        "target": data.train.classes[attack.target] if attack else None,
        "source": data.train.classes[attack.source]
        if attack and attack.source is not None
        else None,
        "score": round(found["score"], 3), "threshold": found["calibration"]["threshold"],
        "outcome": found["outcome"], "suspected_class": found["suspected_class"],
        "suspected_source": found["suspected_source"], "why": found["why_inconclusive"],
        "seconds": round(time.perf_counter() - started, 1),
        "command": command(), "environment": environment(),
    }  # fmt: skip


def scanned(member: Member, network: nn.Module, data: Data) -> dict[str, Any]:
    """Give the record of a scan of the network's file."""
    with tempfile.TemporaryDirectory() as place:
        here = Path(place)
        # Of its own makers, a residual network would come as weights, the others whole.
        whole = isinstance(network, nn.Sequential)
        torch.save(network if whole else network.state_dict(), here / "model.pt")
        channels, side = data.test.pixels.shape[1:3]
        card = {
            "classes": list(data.test.classes),
            "input": {
                "size": [channels, side, side], "mean": [0.0] * channels,
                "std": [1 / member.largest] * channels,
            },
        }  # fmt: skip
        (here / "card.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
        policy = (ROOT / "policies/default.yaml").read_text(encoding="utf-8")
        purifying = "purify: { when: always, method: auto }"
        if purifying not in policy:
            message = "policies/default.yaml does not say how to purify"
            raise SystemExit(message)
        never = policy.replace(purifying, "purify: { when: never }")
        (here / "policy.yaml").write_text(never, encoding="utf-8")
        clean = _clean(data)
        pixels = clean.pixels.permute(0, 2, 3, 1).numpy()  # (N, H, W, C)
        np.savez(here / "clean.npz", images=pixels, labels=clean.labels.numpy())
        words = ["--data", "clean.npz", "--card", "card.yaml", "--policy", "policy.yaml"]
        done = subprocess.run(
            [sys.executable, "-m", "gatekeeper", "scan", "model.pt", *words, "--out", "run",
             "--quiet"],
            cwd=here, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if not (here / "run/record.json").exists():
            raise SystemExit(done.stderr)
        return dict(json.loads((here / "run/record.json").read_text(encoding="utf-8")))


def _clean(data: Data) -> Images:
    return split(data.test, seed=0, first=CLEAN[data.name] / len(data.test))[0]


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Count what was found, and what was suspected wrongly; what did not take is left out."""
    bad = [one for one in rows if one["success"] is not None and one["success"] >= PLANTED]
    clean = [one for one in rows if one["success"] is None]
    seen = [one for one in bad if one["outcome"] == "suspicious"]
    named = [one for one in seen if one["suspected_class"] is not None]
    area = auroc([one["score"] for one in clean], [one["score"] for one in bad])
    return {
        "backdoored": len(bad),
        "clean": len(clean),
        "auroc": round(area, 4),
        "detection_rate": _rate(len(seen), len(bad)),
        "false_alarm_rate": _rate(sum(one["outcome"] == "suspicious" for one in clean), len(clean)),
        "inconclusive": _rate(sum(one["outcome"] == "inconclusive" for one in rows), len(rows)),
        "target_accuracy": _rate(
            sum(one["suspected_class"] == one["target"] for one in named), len(named)
        ),
    }


def _rate(hits: int, n: int) -> dict[str, Any]:
    low, high = wilson(hits, n)
    return {"value": hits / n if n else 0.0, "low": round(low, 4), "high": round(high, 4), "n": n}


@cache
def _data(folder: Path, name: str) -> Data:
    setting = Setting(
        architecture="", train_images=TRAINED_ON[name], test_images=_TEST_IMAGES,
        recipe=Recipe(epochs=0, lr=0),
    )  # fmt: skip
    return read_data(folder / name, setting)


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    folder = parser.parse_args().data
    path = RESULTS / f"{NAME}.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    known = {one["seed"] for one in rows}
    for member in members():
        if member.seed in known:
            continue
        rows.append(row(member, _data(folder, member.data)))
        print(told(rows[-1]), flush=True)
        write(NAME, summary=summary(rows), rows=rows, quiet=True)


def told(one: dict[str, Any]) -> str:
    """Say what was made, and what the gate said of it."""
    success = "" if one["success"] is None else f", success {one['success']:.2f}"
    truth = f"{one['data']} {one['network']} {one['attack']}, accuracy {one['accuracy']:.2f}"
    return f"{truth}{success}: {one['outcome']} at {one['score']:.1f}, {one['seconds']:.0f} s"


if __name__ == "__main__":
    main()
