"""How long do all screens of the default policy take for one small network, alone on a machine?

A never-poisoned residual network of the zoo on images of 32x32, with 10 classes and with 43, and
500 clean images, as in `screening.py`; for a ResNet-50 with random weights, what needs no image.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from environment import environment, write
from torchvision.models import resnet50
from zoo import Member, kept

from gatekeeper.data import split
from gatekeeper.model import Model
from gatekeeper.policy import read_policy
from gatekeeper.records import InputSpec
from gatekeeper.screening import IMAGE_SCREENS, UNIT_SCREENS, MaximumMargin, TriggerInversion

HELD = 500
_AREA = 0.015  # share of the image under which a trigger is flagged


def main() -> None:
    """Print and keep the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    rows, summary = [], {}
    for data in ("cifar10", "gtsrb"):
        held = kept(Member(data=data, family="residual"))
        clean = split(held.held, seed=0, first=HELD / len(held.held))[0]
        looks: dict[str, Callable[[], Any]] = {
            "trigger-inversion": partial(TriggerInversion(bound=_AREA), held.model, clean),
            "maximum-margin": partial(MaximumMargin(), held.model),
        }
        looks |= {name: partial(look(), held.model, clean) for name, look in IMAGE_SCREENS.items()}
        classes = len(held.model.classes)
        rows += _timed(f"residual, {classes} classes", _unit_looks(held.model) | looks, rounds)
        summary[f"seconds_{classes}_classes"] = _total(rows, f"residual, {classes} classes")
    torch.manual_seed(0)
    large = Model(
        network=resnet50().eval(), classes=tuple(map(str, range(1000))),
        input=InputSpec(size=(3, 224, 224), mean=(0.5,) * 3, std=(0.25,) * 3),
        architecture="torchvision:resnet50",
    )  # fmt: skip
    rows += _timed("ResNet-50, without images", _unit_looks(large), rounds)
    summary["seconds_resnet50_without_images"] = _total(rows, "ResNet-50, without images")
    write("screening-time", summary=summary, rows=rows)


def _unit_looks(model: Model) -> dict[str, Callable[[], Any]]:
    return {name: partial(screen(), model) for name, screen in UNIT_SCREENS.items()}


def _timed(what: str, looks: dict[str, Callable[[], Any]], rounds: int) -> list[dict[str, Any]]:
    """Time those that the default policy names, in turns."""
    named = [name for name in read_policy("default").screen if name in looks]
    seconds: dict[str, list[float]] = {name: [] for name in named}
    for _ in range(rounds):
        for name in named:
            started = time.perf_counter()
            looks[name]()
            seconds[name].append(time.perf_counter() - started)
    return [
        {
            "network": what, "screen": name, "seconds": round(median(values), 2),
            "environment": environment(),
        }
        for name, values in seconds.items()
    ]  # fmt: skip


def _total(rows: list[dict[str, Any]], what: str) -> float:
    return round(sum(row["seconds"] for row in rows if row["network"] == what), 1)


if __name__ == "__main__":
    main()
