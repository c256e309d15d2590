"""An .npz of images and labels."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gatekeeper.data.folders import check_room
from gatekeeper.errors import DataError
from gatekeeper.model import Images
from gatekeeper.records import InputSpec

_MOST_CLASSES = 100_000


def read_arrays(
    path: Path, spec: InputSpec | None, classes: tuple[str, ...] | None
) -> tuple[Images, str]:
    """Read an .npz with `images` (N, H, W[, C]) uint8 and `labels` (N,) integers from 0.

    Raises:
        DataError: it cannot be read, lacks one of them, or they do not fit together.
    """
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
    if spec is not None:
        check_room(path, len(pixels), spec.size)
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
        if not zipfile.is_zipfile(path):
            message = f"{path} is no .npz archive"
            raise DataError(message)
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            pixels, labels = archive["images"], archive["labels"]
    except KeyError:
        message = f"{path} lacks `images` or `labels`"
        raise DataError(message) from None
    except DataError:
        raise
    except Exception as error:
        # zipfile, zlib and numpy each have their own way to say that bytes are damaged.
        told = (
            "it holds Python objects" if "pickle" in str(error) else error or type(error).__name__
        )
        message = f"cannot read {path}: {told}"
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
