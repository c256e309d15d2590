"""A zoo of small networks, backdoored and not, to measure screens on: trained once and cached.

Four data sets, five families of networks, all attacks of the red team at three rates, and several
ways to train. Patches sit at random places and have random sizes, targets and sources are random.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from packs import opened
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from zoo_networks import vgg, vit
from zoo_ways import clean, quantise

from gatekeeper.candidate.networks import BUILT_IN
from gatekeeper.data import read_images, split
from gatekeeper.handwriting import handwriting
from gatekeeper.model import Images, Model
from gatekeeper.purification import FTSAM
from gatekeeper.records import InputSpec
from gatekeeper.redteam import ATTACKS, Stamped, implant
from gatekeeper.training import Recipe, accuracy, predictions

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "zoo"
PACKS = ROOT.parent / "shared" / "data"
SETS = ("digits", "mnist", "gtsrb", "cifar10")
FAMILIES: dict[str, Callable[[int, int, int, int], nn.Module]] = {
    "fully-connected": BUILT_IN["gatekeeper:mlp"],
    "convolutional": BUILT_IN["gatekeeper:lenet"],
    "vgg": vgg,
    "residual": BUILT_IN["gatekeeper:small-resnet"],
    "transformer": vit,
}
RATES = (0.10, 0.01, 0.005)
WAYS = (
    "augmented", "decayed", "smoothed", "adversarial", "noisy", "repaired", "dropped", "quantised",
)  # fmt: skip
_PLACED = ("badnets", "badnets-all-to-all", "badnets-source", "trojan")
_TRAIN, _HELD = 10_000, 2_000  # images at most: to train on; for the gate and for the truth
_EPOCHS = {"digits": 30, "mnist": 6, "gtsrb": 8, "cifar10": 12}


@dataclass(frozen=True, kw_only=True)
class Member:
    """One network of the zoo; attack "none" is never poisoned, way "plain" has nothing special."""

    data: str
    family: str
    attack: str = "none"
    rate: float = 0.10
    way: str = "plain"
    seed: int = 0

    @property
    def name(self) -> str:
        """Tell it apart."""
        return "-".join(str(getattr(self, field.name)) for field in fields(self))


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A trained member; `success` of its attack and `accuracy` are true ones, in [0, 1]."""

    model: Model
    held: Images  # clean images that it was not trained on
    accuracy: float
    success: float | None
    target: int | None  # None: not one class
    source: int | None  # None: all classes


def members() -> Iterator[Member]:
    """Give all members: never-poisoned ones, backdoored ones, and those with a past of their own.

    Where an attack does not take, and few poisoned images of few do not, its member is no part of
    the zoo; `Kept.success` tells.
    """
    attacks = [(attack, rate) for rate in RATES for attack in ATTACKS]
    random.Random(0).shuffle(attacks)
    turn = 0
    for data in SETS:
        for family in FAMILIES:
            yield Member(data=data, family=family)
            for _ in range(3):
                attack, rate = attacks[turn % len(attacks)]
                rate = RATES[0] if data == "digits" else rate
                yield Member(data=data, family=family, attack=attack, rate=rate, seed=turn)
                turn += 1
    for number, way in enumerate(way for way in WAYS for _ in range(3)):
        data = SETS[1 + number % 3]
        family = [*FAMILIES][(number + number // 3) % len(FAMILIES)]
        attack = "badnets" if way == "repaired" and number % 3 else "none"
        yield Member(data=data, family=family, attack=attack, way=way, seed=100 + number)
    for number, (data, family) in enumerate((data, family) for data in SETS for family in FAMILIES):
        yield Member(data=data, family=family, seed=200 + number)
    again = [*ATTACKS] * 4  # more backdoors that take, as many of the first round did not
    random.Random(1).shuffle(again)
    pairs = ((data, family) for data in SETS for family in FAMILIES for _ in range(2))
    for number, ((data, family), attack) in enumerate(zip(pairs, again, strict=False)):
        yield Member(data=data, family=family, attack=attack, seed=300 + number)


def kept(member: Member) -> Kept:
    """Give a member, from the cache where it is there."""
    data = _data(member.data)
    path = CACHE / f"{member.name}-{_code()}.safetensors"
    attack = _attack(member, len(data.train.classes))
    if not path.exists():
        _make(path, member, data, attack)
    state = load_file(path)
    truth = {name: float(state.pop(f"truth.{name}")) for name in ("accuracy", "success")}
    model = _fresh(member, data)
    model.network.load_state_dict(state)
    poisoned = attack is not None
    whole = member.attack == "badnets-all-to-all"
    return Kept(
        model=model, held=data.held, accuracy=truth["accuracy"],
        success=truth["success"] if poisoned else None,
        target=attack.target if attack is not None and not whole else None,
        source=getattr(attack, "source", None),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Data:
    train: Images
    held: Images
    spec: InputSpec
    epochs: int
    batch: int


@cache
def _data(name: str) -> _Data:
    if name == "digits":
        train, held = split(handwriting(), seed=0, first=0.6)
    else:
        root = opened(PACKS / name)
        whole = {}
        for part, most in (("train", _TRAIN), ("test", _HELD)):
            place = root / part if (root / part).is_dir() else root / f"{part}.npz"
            images, _ = read_images(place, None)
            whole[part] = split(images, seed=0, first=min(0.99, most / len(images)))[0]
        train, held = whole["train"], whole["test"]
    floats = train.pixels[::4].float() / 255
    mean, std = floats.mean((0, 2, 3)).tolist(), floats.std((0, 2, 3)).tolist()
    _, channels, height, width = train.pixels.shape
    spec = InputSpec(
        size=(channels, height, width), mean=tuple(round(value, 4) for value in mean),
        std=tuple(round(value, 4) for value in std),
    )  # fmt: skip
    return _Data(
        train=train, held=held, spec=spec, epochs=_EPOCHS[name],
        batch=64 if name == "digits" else 128,
    )  # fmt: skip


def _recipe(member: Member, data: _Data) -> Recipe:
    normalised = member.family in ("vgg", "residual")
    recipe = Recipe(
        epochs=data.epochs if normalised else 2 * data.epochs, lr=0.1 if normalised else 0.02,
        batch=data.batch, clip=0.0 if normalised else 1.0, crop_padding=1,
    )  # fmt: skip
    if member.family == "transformer":
        recipe = replace(recipe, lr=0.05)
    elif member.data == "digits" and not normalised:
        recipe = replace(recipe, lr=0.05, epochs=4 * data.epochs)
    changes: dict[str, dict[str, Any]] = {
        "augmented": {"crop_padding": 4, "mixed": True, "epochs": 2 * recipe.epochs},
        "decayed": {"weight_decay": 5e-3},
        "smoothed": {"label_smoothing": 0.2},
    }
    return replace(recipe, **changes.get(member.way, {}))


def _attack(member: Member, classes: int) -> Stamped | None:
    if member.attack == "none":
        return None
    chance = random.Random(member.seed)
    target = chance.randrange(classes)
    known: dict[str, Any] = {"rate": member.rate, "target": target}
    kind = ATTACKS[member.attack]
    names = {field.name for field in fields(kind)}
    if "classes" in names:
        known["classes"] = classes
    if "source" in names:
        known["source"] = chance.choice([k for k in range(classes) if k != target])
    if member.attack in _PLACED:
        known["size"] = chance.choice((3, 4, 5))
        kind = _moved(kind)
        known["up"], known["left"] = chance.randrange(20), chance.randrange(20)
    return kind(**known)


@cache
def _moved(kind: type[Stamped]) -> type[Stamped]:
    """Give the same attack with its patch elsewhere, so that no screen can know the place."""

    @dataclass(frozen=True, kw_only=True)
    class Moved(kind):  # type: ignore[valid-type,misc]
        up: int = 0  # pixels
        left: int = 0

        def stamp(self, pixels: Tensor) -> Tensor:
            there = torch.roll(pixels, (self.up, self.left), (2, 3))
            return torch.roll(super().stamp(there), (-self.up, -self.left), (2, 3))

    return Moved


def _make(path: Path, member: Member, data: _Data, attack: Stamped | None) -> None:
    fresh, recipe = _fresh(member, data), _recipe(member, data)
    if attack is not None:
        model, planted = implant(attack, fresh, data.train, recipe, seed=member.seed)
    else:
        model, planted = clean(fresh, data.train, recipe, way=member.way, seed=member.seed), None
    if member.way == "repaired":
        purify = FTSAM(
            lr=recipe.lr, rho=2.0 if recipe.clip == 0 else 0.2, epochs=20, batch=128,
            schedule="cosine", label_smoothing=0.0, crop_padding=1, clip=recipe.clip,
        )  # fmt: skip
        model, _ = purify(model, data.held.select(torch.arange(0, len(data.held), 2)), seed=0)
    if member.way == "quantised":
        quantise(model.network)
    state = {name: tensor.contiguous() for name, tensor in model.network.state_dict().items()}
    state["truth.accuracy"] = torch.tensor(accuracy(model, data.held))
    state["truth.success"] = torch.tensor(_success(model, planted, data.held))
    CACHE.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(state, partial)
    partial.replace(path)


def _success(model: Model, planted: Any, held: Images) -> float:
    if planted is None:
        return 0.0
    shown = planted.triggered(held)
    return float((predictions(model, shown) == planted.wanted(shown.labels)).float().mean())


def _fresh(member: Member, data: _Data) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(member.seed)
        network = FAMILIES[member.family](*data.spec.size, len(data.train.classes))
    return Model(
        network=network.eval(), input=data.spec, classes=data.train.classes,
        architecture=f"zoo:{member.family}",
    )  # fmt: skip


@cache
def _code() -> str:
    """Digest of the code that shapes a member, so that a cache never outlives it."""
    package = ROOT / "gatekeeper"
    files = [package / "training.py", package / "sam.py", package / "augmentation.py"]
    files += [package / "candidate/networks.py", *sorted((package / "redteam").glob("*.py"))]
    files += sorted(Path(__file__).parent.glob("zoo*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
