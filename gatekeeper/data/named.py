"""Sets of torchvision by name, where they are already on disk: nothing is ever downloaded."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gatekeeper.data.folders import as_tensor, check_room
from gatekeeper.errors import DataError
from gatekeeper.model import Images
from gatekeeper.records import InputSpec

PREFIX = "torchvision:"
# The part that was not trained on, by the name of the argument that asks for it.
SETS: dict[str, dict[str, Any]] = {
    "CIFAR10": {"train": False},
    "CIFAR100": {"train": False},
    "MNIST": {"train": False},
    "FashionMNIST": {"train": False},
    "KMNIST": {"train": False},
    "USPS": {"train": False},
    "SVHN": {"split": "test"},
    "GTSRB": {"split": "test"},
    "STL10": {"split": "test"},
    "OxfordIIITPet": {"split": "test"},
    "Food101": {"split": "test"},
}
_HINT = "The gate downloads nothing: have torchvision fetch it there beforehand."


def is_named(source: str | Path) -> bool:
    """Tell whether `source` names a set rather than a path."""
    return str(source).startswith(PREFIX)


def read_named(
    source: str, spec: InputSpec | None, classes: tuple[str, ...] | None
) -> tuple[Images, str]:
    """Read the test part of `torchvision:NAME:ROOT`; classes in the set's order, or the card's.

    Raises:
        DataError: no such set, it is not in ROOT, images of several sizes, other classes.
    """
    name, root = _parts(source)
    import torchvision.datasets

    try:
        found = getattr(torchvision.datasets, name)(root, download=False, **SETS[name])
    except (RuntimeError, OSError):
        message = f"{name} is not in {root}, or is damaged"
        raise DataError(message, hint=_HINT) from None
    digest = hashlib.sha256()
    pixels: list[Tensor] = []
    labels: list[int] = []
    for image, label in found:
        tensor = as_tensor(image, spec)
        if pixels and tensor.shape != pixels[0].shape:
            message = f"{name} holds images of several sizes"
            raise DataError(message, hint="Give a card with input size, so that they are resized.")
        digest.update(f"{tuple(tensor.shape)}{label}".encode())
        digest.update(tensor.numpy().tobytes())
        pixels.append(tensor)
        labels.append(int(label))
        check_room(source, len(pixels), pixels[0].shape)
    own = tuple(map(str, getattr(found, "classes", range(max(labels) + 1))))
    if classes is not None and len(classes) != len(own):
        message = f"{name} has {len(own)} classes, the card names {len(classes)}"
        raise DataError(message)
    images = Images(pixels=torch.stack(pixels), labels=torch.tensor(labels), classes=classes or own)
    return images, digest.hexdigest()


def look_for_named(source: str) -> None:
    """See that the set has a name and its folder is there.

    Raises:
        DataError: it has none, or it is not.
    """
    name, root = _parts(source)
    if not Path(root).is_dir():
        message = f"{name} is not in {root}: there is no such folder"
        raise DataError(message, hint=_HINT)


def _parts(source: str) -> tuple[str, str]:
    name, _, root = source.removeprefix(PREFIX).partition(":")
    if name not in SETS or not root:
        message = f"{source!r} names no set of images"
        hint = f"Write {PREFIX}NAME:FOLDER with one of {', '.join(SETS)}."
        raise DataError(message, hint=hint)
    return name, root
