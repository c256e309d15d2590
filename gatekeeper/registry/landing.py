"""The folder that the files of one version are fetched into: whole, or not there."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gatekeeper.errors import RegistryError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_HINT = "Free some space there, or let temporary files go elsewhere (TMPDIR), then audit again."


@contextmanager
def landing(into: Path, needed: int | None) -> Iterator[Path]:
    """Give an empty folder in `into`, and remove it where the block does not end well.

    `needed` is the bytes that will come, where they are known.

    Raises:
        RegistryError: the disk is full, too small, or cannot be written.
    """
    folder = into / "files"
    try:
        if folder.exists():
            shutil.rmtree(folder)  # left by a killed run
        folder.mkdir(parents=True)
    except OSError as error:
        message = f"cannot write in {into}: {error.strerror or error}"
        raise RegistryError(message, hint=_HINT) from None
    try:
        _check_room(into, needed)
        yield folder
    except OSError as error:
        _remove(folder)
        if error.errno in _FULL:
            raise disk_full(into) from None
        raise
    except BaseException:
        _remove(folder)
        raise


def disk_full(into: Path) -> RegistryError:
    """Give the error for a disk that filled up while a version came in."""
    return RegistryError(f"no space left in {into}", hint=_HINT)


def _check_room(into: Path, needed: int | None) -> None:
    free = _free(into)
    if needed is not None and needed > free:
        message = f"{into} has {free:,} bytes free, and the version holds {needed:,}"
        raise RegistryError(message, hint=_HINT)


def _free(into: Path) -> int:
    return shutil.disk_usage(into).free


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
