"""Backdoored networks for the benchmarks: trained once, cached with their triggered images."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from packs import opened
from safetensors.torch import load_file, save_file
from torch import Tensor

from gatekeeper.candidate.networks import BUILT_IN
from gatekeeper.data import read_images, split
from gatekeeper.model import Images, Model
from gatekeeper.records import InputSpec
from gatekeeper.redteam import ATTACKS, implant
from gatekeeper.training import Recipe, fine_tune

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "victims"
SHOWN = 2000  # triggered test images, at most


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How victims of one profile are made."""

    architecture: str
    train_images: int
    test_images: int
    recipe: Recipe
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True)
class Data:
    """One set of images: what victims are trained on, what the gate holds, and what counts."""

    name: str
    train: Images
    clean: Images
    test: Images
    flip: bool

    @property
    def spec(self) -> InputSpec:
        """Input as measured on the training images."""
        floats = self.train.pixels[::4].float() / 255  # they are ordered by class
        mean, std = floats.mean((0, 2, 3)).tolist(), floats.std((0, 2, 3)).tolist()
        rounded = [tuple(round(value, 4) for value in values) for values in (mean, std)]
        _, channels, height, width = self.train.pixels.shape
        return InputSpec(size=(channels, height, width), mean=rounded[0], std=rounded[1])


@dataclass(frozen=True, kw_only=True)
class Victim:
    """A network with its triggered test images (N, C, H, W), their true and their wanted labels."""

    model: Model
    triggered: Images
    wanted: Tensor

    def to(self, device: str) -> Victim:
        """Move the network."""
        return replace(self, model=replace(self.model, network=self.model.network.to(device)))


def read_data(root: Path, setting: Setting) -> Data:
    """Read `root/{train,test}` of class folders (or .npz), as many images as the setting wants."""
    root = opened(root)
    parts = {}
    for part, most in (("train", setting.train_images), ("test", setting.test_images)):
        place = root / part if (root / part).is_dir() else root / f"{part}.npz"
        images, _ = read_images(place, None)
        parts[part] = split(images, seed=0, first=most / len(images)) if most < len(images) else ()
    train, clean = parts["train"]
    # Signs and digits change their meaning in a mirror.
    flip = root.name == "cifar10"
    return Data(name=root.name, train=train, clean=clean, test=parts["test"][0], flip=flip)


def victim(data: Data, setting: Setting, attack: str, rate: float, seed: int) -> Victim:
    """Give the victim of `attack` ("none": never poisoned), from the cache where it is there."""
    recipe = replace(setting.recipe, flip=data.flip)
    parts = [data.name, len(data.train), setting.architecture, recipe, attack, rate, seed, _code()]
    path = CACHE / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:20]}.safetensors"
    if not path.exists():
        _make(path, data, setting, recipe, attack, rate, seed)
    held = load_file(path)
    triggered = Images(
        pixels=held.pop("triggered.pixels"), labels=held.pop("triggered.labels"),
        classes=data.train.classes,
    )  # fmt: skip
    wanted = held.pop("triggered.wanted")
    model = _fresh(data, setting, seed)
    model.network.load_state_dict(held)
    return Victim(model=model, triggered=triggered, wanted=wanted).to(setting.device)


def _make(
    path: Path, data: Data, setting: Setting, recipe: Recipe, attack: str, rate: float, seed: int
) -> None:
    fresh = _fresh(data, setting, seed)
    fresh.network.to(setting.device)
    if attack == "none":
        model, _ = fine_tune(fresh, data.train, recipe, seed=seed)
        triggered = data.test.select(torch.arange(0))
        wanted = triggered.labels
    else:
        known: dict[str, Any] = {"rate": rate}
        if attack == "badnets-all-to-all":
            known["classes"] = len(data.train.classes)
        model, planted = implant(
            ATTACKS[attack](**known), fresh, data.train, recipe, seed=seed,
            surrogate=lambda: victim(data, setting, "none", 0.0, seed).model,
        )  # fmt: skip
        triggered = planted.triggered(data.test)
        apart = max(1, len(triggered) // SHOWN)  # they are ordered by class
        triggered = triggered.select(torch.arange(0, len(triggered), apart))
        wanted = planted.wanted(triggered.labels)
    state = {name: tensor.cpu().contiguous() for name, tensor in model.network.state_dict().items()}
    state |= {
        "triggered.pixels": triggered.pixels.contiguous(),
        "triggered.labels": triggered.labels.contiguous(),
        "triggered.wanted": wanted.contiguous(),
    }
    CACHE.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(state, partial)
    partial.replace(path)


def _fresh(data: Data, setting: Setting, seed: int) -> Model:
    spec = data.spec
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = BUILT_IN[setting.architecture](*spec.size, len(data.train.classes))
    return Model(
        network=network.eval(), input=spec, classes=data.train.classes,
        architecture=setting.architecture,
    )  # fmt: skip


@cache
def _code() -> str:
    """Digest of the code that shapes a victim, so that a cache never outlives it."""
    package = ROOT / "gatekeeper"
    files = [package / "training.py", package / "sam.py", package / "candidate/networks.py"]
    files += sorted((package / "redteam").glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
