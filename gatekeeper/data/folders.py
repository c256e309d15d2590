"""Class folders of image files, as torchvision's ImageFolder lays them out."""

from __future__ import annotations

import hashlib
import io
import math
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from gatekeeper.errors import DataError
from gatekeeper.model import Images
from gatekeeper.records import InputSpec

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".tif", ".tiff", ".gif"})
_MOST_BYTES = 4 << 30  # of all images, one byte a value
_MOST_PIXELS = 64_000_000  # of one image: far above any camera, far below a decompression bomb


def read_folders(
    path: Path, spec: InputSpec | None, classes: tuple[str, ...] | None
) -> tuple[Images, str]:
    """Read a folder of class folders; classes stand in lexicographic order, as ImageFolder has it.

    Raises:
        DataError: nothing there, one class, an image that cannot be decoded, other classes.
    """
    folders = sorted(e for e in path.iterdir() if e.is_dir() and not e.name.startswith("."))
    names = tuple(folder.name for folder in folders)
    _check_classes(path, names, classes)
    # The card's order is that of the network's outputs.
    order = {name: label for label, name in enumerate(classes or names)}
    files = [(file, folder.name) for folder in folders for file in _image_files(folder)]
    pixels, digest = _read([file for file, _ in files], path, spec)
    labels = [order[name] for _, name in files]
    if pixels and (empty := set(order.values()) - set(labels)):
        message = f"no image in {path / next(n for n in names if order[n] in empty)}"
        raise DataError(message, hint="Put at least one image of the class there.")
    if not pixels:
        message = f"no image in the class folders of {path}"
        raise DataError(message, hint=f"Images end in one of {', '.join(sorted(SUFFIXES))}.")
    images = Images(
        pixels=torch.stack(pixels), labels=torch.tensor(labels), classes=classes or names
    )
    return images, digest


def read_loose(path: Path, spec: InputSpec, *, classes: tuple[str, ...]) -> tuple[Images, str]:
    """Read every image in `path` and below, whatever its folder; labels are all 0 and mean nothing.

    Raises:
        DataError: no folder, no image in it, or one that cannot be decoded.
    """
    if not path.is_dir():
        message = f"{path} is no folder of images"
        raise DataError(message)
    pixels, digest = _read(_image_files(path), path, spec)
    if not pixels:
        message = f"no image in {path}"
        raise DataError(message, hint=f"Images end in one of {', '.join(sorted(SUFFIXES))}.")
    labels = torch.zeros(len(pixels), dtype=torch.int64)
    images = Images(pixels=torch.stack(pixels), labels=labels, classes=classes)
    return images, digest


def _image_files(folder: Path) -> list[Path]:
    files = sorted(folder.rglob("*"))
    return [f for f in files if f.suffix.lower() in SUFFIXES and not f.name.startswith(".")]


def _read(files: list[Path], root: Path, spec: InputSpec | None) -> tuple[list[Tensor], str]:
    """Decode every file, all of one shape; the digest is of their names below `root` and bytes."""
    digest = hashlib.sha256()
    pixels: list[Tensor] = []
    for file in files:
        content = _content(file)
        name = os.fsencode(file.relative_to(root).as_posix())
        digest.update(name + f"\0{hashlib.sha256(content).hexdigest()}\n".encode())
        pixels.append(_decode(file, content, spec, pixels[0].shape if pixels else None))
        check_room(root, len(pixels), pixels[0].shape)
    return pixels, digest.hexdigest()


def check_room(source: object, count: int, shape: torch.Size | tuple[int, ...]) -> None:
    """Refuse more images than memory should hold, also where a card asks for huge ones.

    Raises:
        DataError: `count` images of `shape` (C, H, W) are too many.
    """
    if count * math.prod(shape) > _MOST_BYTES:
        size = "x".join(map(str, shape))
        message = f"{source} holds more than {_MOST_BYTES >> 30} GiB of images at {size}"
        raise DataError(message, hint="Give fewer images, or a card with a smaller input size.")


def _check_classes(path: Path, names: tuple[str, ...], classes: tuple[str, ...] | None) -> None:
    if len(names) < 2:
        message = f"{path} has {len(names)} class folder(s), at least 2 are needed"
        loose = any(file.suffix.lower() in SUFFIXES for file in path.iterdir())
        hint = "It holds images itself: give the folder above, with one folder per class."
        if classes is not None and not loose:
            hint = f"Give a folder for each class of the card: {', '.join(classes[:10])}"
            hint += f" and {len(classes) - 10} more." if len(classes) > 10 else "."
        raise DataError(message, hint=hint if loose or classes is not None else DataError.hint)
    if classes is not None and set(names) != set(classes):
        odd = sorted(set(names) ^ set(classes))
        message = (
            f"{path} has {len(names)} class folders, the card names {len(classes)} classes; "
            f"they differ in {', '.join(map(repr, odd[:3]))}"
        )
        raise DataError(message, hint="Name the folders as the card names the classes.")


def _content(file: Path) -> bytes:
    if not file.is_file():
        # A pipe would hold the gate for ever, a device would never end.
        message = f"{file} is not a regular file"
        raise DataError(message, hint="Remove it.")
    try:
        return file.read_bytes()
    except OSError as error:
        message = f"cannot read {file}: {error.strerror}"
        raise DataError(message, hint="Make it readable, or remove it.") from None


def as_tensor(image: Image.Image, spec: InputSpec | None) -> Tensor:
    """(C, H, W) uint8 in the size and channels of `spec`, or the image's own."""
    channels = spec.size[0] if spec else (1 if image.mode in ("1", "L") else 3)
    image = image.convert("L" if channels == 1 else "RGB")
    if spec and (image.height, image.width) != spec.size[1:]:
        image = image.resize(spec.size[:0:-1], Image.Resampling.BILINEAR)
    tensor = torch.from_numpy(np.array(image, dtype=np.uint8))
    return tensor.unsqueeze(0) if channels == 1 else tensor.permute(2, 0, 1).contiguous()


def _decode(file: Path, content: bytes, spec: InputSpec | None, like: torch.Size | None) -> Tensor:
    """(C, H, W) uint8."""
    try:
        with warnings.catch_warnings():
            # What Pillow warns of (large images, torn tags) is refused here, or harmless.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as opened:
                if opened.width * opened.height > _MOST_PIXELS:
                    message = f"{file} has {opened.width} x {opened.height} pixels, too many"
                    raise DataError(message, hint="Remove it, or make it smaller.")
                tensor = as_tensor(opened, spec)
    except DataError:
        raise
    except Image.DecompressionBombError:
        message = f"{file} has too many pixels"
        raise DataError(message, hint="Remove it, or make it smaller.") from None
    except UnidentifiedImageError:
        message = f"{file} is no image that can be read"
        raise DataError(message, hint="Remove or replace it.") from None
    except Exception as error:
        # Pillow's readers raise whatever damaged bytes lead them to: struct.error, IndexError.
        message = f"cannot decode {file}: {error or type(error).__name__}"
        raise DataError(message, hint="Remove or replace this image.") from None
    if like is not None and tensor.shape != like:
        message = f"{file} has shape {tuple(tensor.shape)}, the first image {tuple(like)}"
        raise DataError(message, hint="Give a card with input size, so that images are resized.")
    return tensor
