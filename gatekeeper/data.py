"""Clean images: read from class folders or an .npz, digested, split."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from gatekeeper.errors import DataError
from gatekeeper.model import Images
from gatekeeper.records import InputSpec

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".tif", ".tiff", ".gif"})
_MOST_CLASSES = 100_000
_MOST_PIXELS = 64_000_000  # of one image: far above any camera, far below a decompression bomb


def read_images(
    path: Path, spec: InputSpec | None, *, classes: tuple[str, ...] | None = None
) -> tuple[Images, str]:
    """Read `path` (a folder of class folders, or an .npz) and give images and their digest.

    Folders are classes in lexicographic order, as torchvision's ImageFolder has it. Images are
    resized (bilinear) to `spec.size` and brought to its number of channels. The digest covers
    names and contents, not times.

    Raises:
        DataError: nothing there, one class, an image that cannot be decoded, other classes.
    """
    if path.is_dir():
        try:
            return _read_folders(path, spec, classes)
        except OSError as error:
            message = f"cannot read {error.filename or path}: {error.strerror}"
            raise DataError(message, hint="Make it readable, or remove it.") from None
    if path.suffix == ".npz" and path.is_file():
        return _read_npz(path, spec, classes)
    message = f"{path} is neither a folder of class folders nor an .npz"
    raise DataError(message)


def split(images: Images, *, seed: int, first: float = 0.4) -> tuple[Images, Images]:
    """Split each class by chance: the share `first`, and the rest; both get one where they can."""
    generator = torch.Generator().manual_seed(seed)
    left: list[Tensor] = []
    right: list[Tensor] = []
    for label in range(len(images.classes)):
        members = (images.labels == label).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        cut = round(first * len(members))
        if len(members) >= 2:
            cut = min(max(cut, 1), len(members) - 1)
        left.append(members[:cut])
        right.append(members[cut:])
    return images.select(torch.cat(left)), images.select(torch.cat(right))


def _read_folders(
    path: Path, spec: InputSpec | None, classes: tuple[str, ...] | None
) -> tuple[Images, str]:
    folders = sorted(e for e in path.iterdir() if e.is_dir() and not e.name.startswith("."))
    names = tuple(folder.name for folder in folders)
    _check_classes(path, names, classes)
    # The card's order is that of the network's outputs.
    order = {name: label for label, name in enumerate(classes or names)}
    digest = hashlib.sha256()
    pixels: list[Tensor] = []
    labels: list[int] = []
    for folder in folders:
        for file in sorted(folder.rglob("*")):
            if file.suffix.lower() not in SUFFIXES or file.name.startswith("."):
                continue
            content = _content(file)
            name = os.fsencode(file.relative_to(path).as_posix())
            digest.update(name + f"\0{hashlib.sha256(content).hexdigest()}\n".encode())
            pixels.append(_decode(file, content, spec, pixels[0].shape if pixels else None))
            labels.append(order[folder.name])
    if not pixels:
        message = f"no image in the class folders of {path}"
        raise DataError(message, hint=f"Images end in one of {', '.join(sorted(SUFFIXES))}.")
    images = Images(
        pixels=torch.stack(pixels), labels=torch.tensor(labels), classes=classes or names
    )
    return images, digest.hexdigest()


def _check_classes(path: Path, names: tuple[str, ...], classes: tuple[str, ...] | None) -> None:
    if len(names) < 2:
        message = f"{path} has {len(names)} class folder(s), at least 2 are needed"
        raise DataError(message)
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
                channels = spec.size[0] if spec else (1 if opened.mode in ("1", "L") else 3)
                image = opened.convert("L" if channels == 1 else "RGB")
                if spec and (image.height, image.width) != spec.size[1:]:
                    image = image.resize(spec.size[:0:-1], Image.Resampling.BILINEAR)
                array = np.array(image, dtype=np.uint8)
    except DataError:
        raise
    except Image.DecompressionBombError:
        message = f"{file} has too many pixels"
        raise DataError(message, hint="Remove it, or make it smaller.") from None
    except Exception as error:
        # Pillow's readers raise whatever damaged bytes lead them to: struct.error, IndexError.
        message = f"cannot decode {file}: {error or type(error).__name__}"
        raise DataError(message, hint="Remove or replace this image.") from None
    tensor = torch.from_numpy(array)
    tensor = tensor.unsqueeze(0) if channels == 1 else tensor.permute(2, 0, 1).contiguous()
    if like is not None and tensor.shape != like:
        message = f"{file} has shape {tuple(tensor.shape)}, the first image {tuple(like)}"
        raise DataError(message, hint="Give a card with input size, so that images are resized.")
    return tensor


def _read_npz(
    path: Path, spec: InputSpec | None, classes: tuple[str, ...] | None
) -> tuple[Images, str]:
    pixels, labels = _arrays(path)
    _check_arrays(path, pixels, labels)
    count = int(labels.max()) + 1
    if count > _MOST_CLASSES:
        message = f"{path} has label {count - 1}, more than {_MOST_CLASSES:,} classes"
        raise DataError(message, hint="Labels count from 0, one number a class.")
    names = classes or tuple(str(label) for label in range(count))
    if count > len(names):
        message = f"{path} has label {count - 1}, the card names {len(names)} classes"
        raise DataError(message)
    if len(np.unique(labels)) < 2:
        message = f"{path} holds one class only, at least 2 are needed"
        raise DataError(message)
    digest = hashlib.sha256()
    for array in (pixels, labels.astype(np.int64)):
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    tensor = torch.from_numpy(pixels if pixels.ndim == 4 else pixels[..., None])  # (N, H, W, C)
    tensor = _fit(tensor.permute(0, 3, 1, 2).contiguous(), spec)
    answers = torch.from_numpy(labels.astype(np.int64))
    return Images(pixels=tensor, labels=answers, classes=names), digest.hexdigest()


def _arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            pixels, labels = archive["images"], archive["labels"]
    except KeyError:
        message = f"{path} lacks `images` or `labels`"
        raise DataError(message) from None
    except Exception as error:
        # zipfile, zlib and numpy each have their own way to say that bytes are damaged.
        message = f"cannot read {path}: {error or type(error).__name__}"
        raise DataError(message) from None
    if not isinstance(pixels, np.ndarray) or not isinstance(labels, np.ndarray):
        message = f"{path}: `images` and `labels` are not both arrays"
        raise DataError(message)
    return pixels, labels


def _check_arrays(path: Path, pixels: np.ndarray, labels: np.ndarray) -> None:
    fits = (
        pixels.dtype == np.uint8
        and (pixels.ndim == 3 or (pixels.ndim == 4 and pixels.shape[3] in (1, 3)))
        and labels.shape == pixels.shape[:1]
        and np.issubdtype(labels.dtype, np.integer)
    )
    if not fits or pixels.size == 0 or labels.min() < 0:
        message = (
            f"{path}: images {pixels.dtype} {pixels.shape}, labels {labels.dtype} {labels.shape}; "
            "wanted (N, H, W[, C]) uint8 and (N,) integers from 0"
        )
        raise DataError(message)


def _fit(pixels: Tensor, spec: InputSpec | None) -> Tensor:
    """(N, C, H, W) uint8 -> the size and channels of `spec`."""
    if spec is None:
        return pixels
    channels, height, width = spec.size
    floats = pixels.float()
    if pixels.shape[1] == 3 and channels == 1:
        floats = (floats * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, True)
    elif pixels.shape[1] == 1 and channels == 3:
        floats = floats.expand(-1, 3, -1, -1)
    if pixels.shape[2:] != (height, width):
        floats = F.interpolate(floats, size=(height, width), mode="bilinear", antialias=True)
    return floats.round().clamp(0, 255).to(torch.uint8)
