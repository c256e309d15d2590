"""How dear is a sharpness-aware step? Ours against two plain steps, and against the published loop.

ResNet-18 on 32x32 images of noise: the arithmetic is the same whatever the images show. The kinds
of step take turns, so that a busy machine slows all of them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from environment import RESULTS, command, environment, write
from torch import Tensor, nn
from torchvision.models import resnet18

from gatekeeper.model import Images, Model
from gatekeeper.precision import autocast
from gatekeeper.purification import FTSAM
from gatekeeper.records import InputSpec
from gatekeeper.training import Recipe, fine_tune, frozen_running_stats

CLASSES = tuple("0123456789")
SPEC = InputSpec(size=(3, 32, 32), mean=(0.49, 0.48, 0.45), std=(0.25, 0.24, 0.26))
STEPS = 3  # optimiser steps in an epoch; the first epoch warms up
RHO = 2.0


def victim(device: str) -> Model:
    """Give ResNet-18 as it is used on 32x32 images: no stride and no pooling at the stem."""
    torch.manual_seed(0)
    network = resnet18(num_classes=len(CLASSES))
    network.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    network.maxpool = nn.Identity()
    return Model(
        network=network.to(device), input=SPEC, classes=CLASSES, architecture="resnet18-32x32"
    )


def noise(count: int, device: str) -> Images:
    """Draw `count` images of noise with random labels."""
    chance = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=chance)
    labels = torch.randint(0, len(CLASSES), (count,), generator=chance)
    return Images(pixels=pixels.to(device), labels=labels.to(device), classes=CLASSES)


def ours(device: str, batch: int, rho: float, precision: str) -> list[float]:
    """Seconds per step of the project's own loop."""
    ends = [time.perf_counter()]

    def mark(_: object) -> None:
        synchronise(device)
        ends.append(time.perf_counter())

    recipe = Recipe(
        epochs=3, lr=0.01, batch=batch, rho=rho, crop_padding=4, precision=precision  # type: ignore[arg-type]
    )  # fmt: skip
    fine_tune(victim(device), noise(STEPS * batch, device), recipe, seed=0, on_epoch=mark)
    return [(b - a) / STEPS for a, b in itertools.pairwise(ends[1:])]


def reference(device: str, batch: int) -> list[float]:
    """Seconds per step of FT-SAM as its equations are written down: tensor by tensor, FP32."""
    model, images = victim(device), noise(batch, device)
    view, weights = model.pixels_to_logits().to(device).train(), list(model.network.parameters())
    optimiser = torch.optim.SGD(weights, lr=0.01, momentum=0.9, weight_decay=5e-4, foreach=False)
    pixels, seconds = images.floats(), []
    for _ in range(STEPS):
        synchronise(device)
        started = time.perf_counter()
        optimiser.zero_grad()
        F.cross_entropy(view(pixels), images.labels).backward()
        moves = climb(weights)
        optimiser.zero_grad()
        with frozen_running_stats(model.network):
            F.cross_entropy(view(pixels), images.labels).backward()
        with torch.no_grad():
            for weight, move in zip(weights, moves, strict=True):
                weight.sub_(move)
        optimiser.step()
        synchronise(device)
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


@torch.no_grad()
def climb(weights: list[nn.Parameter]) -> list[Tensor]:
    """Move each weight to w + eps by itself, and give the moves."""
    norm = torch.stack([(w.abs() * w.grad).norm() for w in weights if w.grad is not None]).norm()
    moves = []
    for weight in weights:
        move = RHO * weight.pow(2) * weight.grad / (norm + 1e-12)  # type: ignore[operator]
        weight.add_(move)
        moves.append(move)
    return moves


def synchronise(device: str) -> None:
    """Wait until the device did what it was asked for."""
    if device == "cuda":
        torch.cuda.synchronize()


def compare(device: str, batch: int, rounds: int) -> dict[str, Any]:
    """Median seconds per step of each kind, and their ratios."""
    with autocast(torch.device(device), "auto"):
        half = torch.is_autocast_enabled(device)
    kinds: dict[str, Callable[[], list[float]]] = {
        "plain": lambda: ours(device, batch, 0.0, "auto"),
        "sam": lambda: ours(device, batch, RHO, "auto"),
        "plain_fp32": lambda: ours(device, batch, 0.0, "fp32"),
        "sam_fp32": lambda: ours(device, batch, RHO, "fp32"),
        "reference": lambda: reference(device, batch),
    }
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind, step in kinds.items():
            seconds[kind] += step()
    middle = {kind: median(values) for kind, values in seconds.items()}
    return {
        "what": "step of ResNet-18 at 32x32",
        "device": device,
        "batch": batch,
        "precision": "bf16" if half else "fp32",
        "rounds": rounds,
        "seconds": {kind: round(value, 5) for kind, value in middle.items()},
        "sam_over_two_plain": round(middle["sam"] / (2 * middle["plain"]), 4),
        "reference_over_ours": round(middle["reference"] / middle["sam"], 4),
    }


def purification(device: str, images: int) -> dict[str, Any]:
    """Seconds of a whole FT-SAM run by the paper's settings; one epoch first, to warm up."""
    model, clean = victim(device), noise(images, device)
    FTSAM(epochs=1)(model, clean, seed=0)
    synchronise(device)
    started = time.perf_counter()
    FTSAM()(model, clean, seed=0)
    synchronise(device)
    return {
        "what": f"FT-SAM of ResNet-18 at 32x32, {FTSAM().epochs} epochs",
        "device": device,
        "images": images,
        "seconds": round(time.perf_counter() - started, 2),
    }


def earlier(other_than: str) -> list[dict[str, Any]]:
    """Rows of other devices that an earlier run left."""
    path = RESULTS / "speed.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    return [row for row in rows if row["device"] != other_than]


def main() -> None:
    """Run on one device; the rows of the other stay. The summary is the CPU's where it was run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    given = parser.parse_args()
    rows = [compare(given.device, 64 if given.device == "cpu" else 256, given.rounds)]
    if given.device == "cuda":
        rows.append(purification("cuda", 2500))
    made = {"environment": environment(), "command": command()}
    rows = [{**row, **made} for row in rows] + earlier(given.device)
    rows.sort(key=lambda row: str(row["device"]))
    names = ("sam_over_two_plain", "reference_over_ours")
    write("speed", summary={name: rows[0][name] for name in names}, rows=rows)


if __name__ == "__main__":
    main()
