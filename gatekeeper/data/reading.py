"""Clean images from wherever the operator keeps them, with their digest."""

from __future__ import annotations

from pathlib import Path

from gatekeeper.data.arrays import read_arrays
from gatekeeper.data.folders import read_folders
from gatekeeper.data.named import is_named, look_for_named, read_named
from gatekeeper.errors import DataError
from gatekeeper.model import Images
from gatekeeper.records import InputSpec


def read_images(
    source: str | Path, spec: InputSpec | None, *, classes: tuple[str, ...] | None = None
) -> tuple[Images, str]:
    """Read a folder of class folders, an .npz, or `torchvision:NAME:ROOT`; give images and digest.

    Images are resized (bilinear) to `spec.size` and brought to its number of channels. The digest
    covers names and contents, not times.

    Raises:
        DataError: nothing there, one class, an image that cannot be decoded, other classes.
    """
    if is_named(source):
        return read_named(str(source), spec, classes)
    path = Path(source)
    if path.is_dir():
        try:
            return read_folders(path, spec, classes)
        except OSError as error:
            message = f"cannot read {error.filename or path}: {error.strerror}"
            raise DataError(message, hint="Make it readable, or remove it.") from None
    if path.suffix == ".npz" and path.is_file():
        return read_arrays(path, spec, classes)
    message = f"{path} is neither a folder of class folders nor an .npz"
    raise DataError(message, hint="A set of torchvision is named torchvision:NAME:FOLDER.")


def look(source: str | Path) -> None:
    """See that there is anything where the images should be, without reading it.

    Raises:
        DataError: there is nothing, or no such set.
    """
    if is_named(source):
        look_for_named(str(source))
    elif not Path(source).exists():
        message = f"no images at {source}"
        raise DataError(message)
