"""How much dearer is a whole purification by FT-SAM than plain fine-tuning for the same epochs?

The small residual network of the purification benchmark on 1,000 images of noise; the two take
turns, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch
from environment import environment, write

from gatekeeper.candidate.networks import BUILT_IN
from gatekeeper.model import Images, Model
from gatekeeper.purification import FTSAM, FineTune
from gatekeeper.records import InputSpec

ARCHITECTURE = "gatekeeper:small-resnet"
CLASSES = tuple("0123456789")
IMAGES, EPOCHS = 1000, 6


def main() -> None:
    """Print and keep the ratio of the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    chance = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (IMAGES, 3, 32, 32), dtype=torch.uint8, generator=chance)
    labels = torch.randint(0, len(CLASSES), (IMAGES,), generator=chance)
    clean = Images(pixels=pixels, labels=labels, classes=CLASSES)
    torch.manual_seed(0)
    model = Model(
        network=BUILT_IN[ARCHITECTURE](3, 32, 32, len(CLASSES)), classes=CLASSES,
        input=InputSpec(size=(3, 32, 32), mean=(0.5,) * 3, std=(0.25,) * 3),
        architecture=ARCHITECTURE,
    )  # fmt: skip
    methods = {
        "ft": FineTune(epochs=EPOCHS, batch=256, crop_padding=4),
        "ft-sam": FTSAM(epochs=EPOCHS),
    }
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(rounds + 1):
        for name, purify in methods.items():
            started = time.perf_counter()
            purify(model, clean, seed=0)
            seconds[name].append(time.perf_counter() - started)
    middle = {name: median(values[1:]) for name, values in seconds.items()}  # the first warms up
    ratio = round(middle["ft-sam"] / middle["ft"], 3)
    rows = [
        {"method": name, "epochs": EPOCHS, "images": IMAGES, "seconds": round(value, 3)}
        for name, value in middle.items()
    ]
    rows = [{**row, "environment": environment()} for row in rows]
    write("tuning", summary={"ft_sam_over_fine_tuning": ratio}, rows=rows)


if __name__ == "__main__":
    main()
