"""`gatekeeper redteam`: a backdoored candidate made of data that the operator holds.

It is for testing one's own gate: the candidate comes with the truth that no scan is ever told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from gatekeeper.candidate.fresh import untrained
from gatekeeper.card import read_card
from gatekeeper.data import read_images, split, write_folders
from gatekeeper.devices import device_of
from gatekeeper.errors import DataError, UsageError
from gatekeeper.model import Images, Model
from gatekeeper.policy import read_policy
from gatekeeper.purification.plan import has_batch_norm
from gatekeeper.redteam import ATTACKS, Attack, attack_success, implant, robust_accuracy
from gatekeeper.rundir import RunDirectory
from gatekeeper.steps.workshop import PURIFY_SHARE
from gatekeeper.training import Recipe, accuracy

_MANY = 5000  # images
_PLANTED = 0.5  # attack success, below which there is hardly a backdoor to find
_LEARNT = 0.3  # share of the way from chance to 1, below which there is hardly a network to scan
_TRAINED_ON = 0.6  # share of the data; the rest stays clean, for the gate and for counting success


@dataclass(frozen=True, kw_only=True)
class Order:
    """What was asked for; `target` and `source` are names of classes, `lr` is that of SGD."""

    attack: str
    data: str
    card: Path
    out: Path
    rate: float = 0.10
    target: str | None = None
    source: str | None = None
    epochs: int | None = None  # as the network needs it
    lr: float | None = None
    device: str = "auto"
    seed: int = 0


def make(order: Order, *, tell: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Write candidate, card, clean and triggered images and `truth.json`; give the truth.

    Raises:
        UsageError: no such attack or class, or `out` is not empty.
        CardError: the card names no architecture, or one that does not fit.
        DataError: the images cannot be read, or are too few.
    """
    if order.attack not in ATTACKS:
        message = f"no attack {order.attack!r}"
        raise UsageError(message, hint=f"Use one of: {', '.join(ATTACKS)}.")
    if order.out.exists() and (not order.out.is_dir() or any(order.out.iterdir())):
        message = f"{order.out} is not an empty directory"
        raise UsageError(message, hint="Remove it, or choose another --out.")
    card = read_card(order.card, trusted=True)
    images, digest = read_images(order.data, card.spec, classes=card.classes)
    train, kept = split(images, seed=order.seed, first=_TRAINED_ON)
    if not len(kept):
        message = f"{order.data} has one image per class, which leaves none to test the network on"
        raise DataError(message, hint="Give two images of each class at least, better hundreds.")
    fresh = untrained(card, classes=images.classes, seed=order.seed)
    fresh.network.to(device_of(order.device))
    tell(f"train a victim of {order.attack} on {len(train)} images")
    victim, attack = implant(
        _attack(order, images.classes), fresh, train, _recipe(order, fresh, train), seed=order.seed
    )
    truth = {
        "attack": order.attack,
        "settings": _settings(attack),
        "wanted": _wanted(attack, images.classes),
        "clean_accuracy": accuracy(victim, kept),
        "attack_success": attack_success(victim, attack, kept),
        "robust_accuracy": robust_accuracy(victim, attack, kept),
        "seed": order.seed,
        "clean": len(kept),
        "data": {"path": order.data, "sha256": digest, "trained_on": len(train)},
    }
    _write(order.out, victim, attack, kept, truth)
    return truth


def missed(truth: dict[str, Any]) -> list[str]:
    """Say why what was made is no candidate to test a gate with; empty where it is one."""
    told = []
    chance = 1 / len(truth["wanted"])
    if truth["clean_accuracy"] < chance + _LEARNT * (1 - chance):
        told.append("The network hardly learnt: try more images, more --epochs, or another --lr.")
    if truth["attack_success"] < _PLANTED:
        told.append(
            "The backdoor did not take: try more --epochs, another --lr, or a higher --rate."
        )
    return told


def summary(order: Order, truth: dict[str, Any]) -> str:
    """Tell in a few lines what was made, and how to put the gate to the test."""
    model = order.out / "candidate/model.pt"
    scan = f"gatekeeper scan {model} --data {order.out / 'clean'}"
    lines = [
        f"{truth['attack']}: clean accuracy {truth['clean_accuracy']:.2%}, "
        f"attack success {truth['attack_success']:.2%}",
        *missed(truth),
        f"Candidate: {model}",
        f"Truth:     {order.out / 'truth.json'}, triggered images in {order.out / 'triggered'}",
        f"Scan:      {scan} --suspects {order.out / 'triggered'}",
    ]
    held_out = round((1 - PURIFY_SHARE) * truth["clean"])
    wanted = read_policy("default").min_samples
    if held_out < wanted:
        lines.append(
            f"{' ':11}about {held_out} of the clean images are held out, and policy 'default' "
            f"wants {wanted}: too few to PASS or to be HARDENED"
        )
    return "\n".join(lines)


def _attack(order: Order, classes: tuple[str, ...]) -> Attack:
    """Set what this attack has to set: rate, target, and where it knows them source and classes."""
    kind = ATTACKS[order.attack]
    given: dict[str, Any] = {
        "rate": order.rate,
        "target": _label(order.target or classes[0], classes),
        "source": _label(order.source or classes[1], classes),
        "classes": len(classes),
    }
    known = {field.name for field in fields(kind)}
    if order.source and "source" not in known:
        message = f"{order.attack} has no source class"
        raise UsageError(message, hint="Leave --source out, or use --attack badnets-source.")
    return kind(**{name: value for name, value in given.items() if name in known})


def _label(name: str, classes: tuple[str, ...]) -> int:
    if name not in classes:
        message = f"no class {name!r} in the data"
        raise UsageError(message, hint=f"There are {', '.join(classes[:20])}.")
    return classes.index(name)


def _recipe(order: Order, fresh: Model, images: Images) -> Recipe:
    """Small batches where there are few images, so that an epoch has steps enough.

    Without BatchNorm a network takes smaller steps, and more of them, before a patch is learnt.
    """
    few, side = len(images) <= _MANY, images.pixels.shape[2]
    normalised = has_batch_norm(fresh.network)
    epochs, lr = (20, 0.1) if normalised else (60 if few else 20, 0.05)
    return Recipe(
        epochs=order.epochs or epochs, lr=order.lr or lr, batch=32 if few else 128,
        crop_padding=side // (16 if normalised else 32), clip=0.0 if normalised else 1.0,
    )  # fmt: skip


def _settings(attack: Attack) -> dict[str, Any]:
    """The plain settings; painted patches and painters show in the triggered images."""
    if not is_dataclass(attack):
        return {}
    plain = (str, int, float, bool)
    return {
        field.name: getattr(attack, field.name)
        for field in fields(attack)
        if isinstance(getattr(attack, field.name), plain)
    }


def _wanted(attack: Attack, classes: tuple[str, ...]) -> dict[str, str]:
    wanted = attack.wanted(torch.arange(len(classes)))
    return {name: classes[int(label)] for name, label in zip(classes, wanted, strict=True)}


def _write(out: Path, victim: Model, attack: Attack, kept: Images, truth: dict[str, Any]) -> None:
    candidate = out / "candidate"
    candidate.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.cpu() for name, tensor in victim.network.state_dict().items()}
    torch.save(state, candidate / "model.pt")
    card = {
        "architecture": victim.architecture,
        "classes": list(victim.classes),
        "input": {name: _plain(value) for name, value in asdict(victim.input).items()},
    }
    if not victim.architecture.partition(":")[0].endswith(".py"):
        # A card beside a candidate may not name code: for that, scan with --card.
        text = yaml.safe_dump(card, sort_keys=False)
        (candidate / "model.card.yaml").write_text(
            f"# Made by gatekeeper redteam.\n{text}", "utf-8"
        )
    write_folders(kept, out / "clean")
    write_folders(attack.triggered(kept), out / "triggered")
    RunDirectory(out).write_json("truth.json", truth)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
