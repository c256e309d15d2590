"""Folders for what an audit fetches: one a version, removed with it, swept where that was cut."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from gatekeeper.registry.interface import Version
from gatekeeper.rundir import disk_told

_PLACE = ".fetched"
_LOCK = "lock"


@contextmanager
def room_for(version: Version, folder: Path) -> Iterator[Path]:
    """Give an empty folder below `folder`, named after the version, and remove it.

    Raises:
        RunDirectoryError: the disk is full or the folder cannot be written.
    """
    place = folder.resolve() / _PLACE
    with disk_told(place):
        with _alone(place):
            top = Path(tempfile.mkdtemp(dir=place))
            lock = (top / _LOCK).open("w")
            # Held as long as this process lives, whatever ends it.
            fcntl.flock(lock, fcntl.LOCK_EX)
        room = top / _plain(version.model) / _plain(version.version)
        room.mkdir(parents=True)
    with lock:
        try:
            yield room
        finally:
            shutil.rmtree(top, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what audits left that were killed; those that run keep theirs."""
    place = folder / _PLACE
    if not place.is_dir():
        return
    with suppress(OSError), _alone(place):
        for top in place.iterdir():
            with suppress(OSError), (top / _LOCK).open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(top, ignore_errors=True)
        if [path.name for path in place.iterdir()] == [_LOCK]:
            shutil.rmtree(place, ignore_errors=True)


def _alone(place: Path) -> TextIO:
    """Lock `place` until what this gives is closed: a room that is being made has no lock yet."""
    while True:
        place.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            lock = (place / _LOCK).open("w")
            fcntl.flock(lock, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                # Else another process has swept the place away meanwhile.
                if _is(lock, place / _LOCK):
                    return lock
            lock.close()


def _is(lock: TextIO, path: Path) -> bool:
    return os.path.samestat(os.fstat(lock.fileno()), path.stat())


def _plain(name: str) -> str:
    """Make a name of a registry one of a folder."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[:80].lstrip(".") or "_"
