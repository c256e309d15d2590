"""The files below one local folder: what tells that they changed, and that none leads away."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG

from gatekeeper.errors import RegistryError
from gatekeeper.registry.names import shown

_HINT = "Put the file itself there, then audit again."


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What the file system tells about the files of one folder, none of them opened."""

    fingerprint: str
    bytes: int


def contents(folder: str, root: str) -> Contents:
    """Look at every file below `folder` without opening one.

    The fingerprint digests names, sizes, times of change and inodes. It cannot see a change by
    someone who writes to the disk below the file system or turns the machine's clock back.

    Raises:
        RegistryError: there is no file, or something that is neither file nor folder, or a link
            that leads out of `root` or to a folder.
        OSError: something cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    found = False
    for path, seen in _files(folder, root):
        name = os.fsencode(os.path.relpath(path, folder)) if path != folder else b""
        numbers = f"{seen.st_size} {seen.st_mtime_ns} {seen.st_ctime_ns} {seen.st_ino}"
        digest.update(name + b"\0" + numbers.encode() + b"\n")
        if not S_ISLNK(seen.st_mode):
            size += seen.st_size
            found = True
    if not found:
        raise RegistryError("the folder holds no file", hint="Remove it, or put the model there.")
    return Contents(fingerprint=f"sha256:{digest.hexdigest()}", bytes=size)


def _files(folder: str, root: str) -> Iterator[tuple[str, os.stat_result]]:
    """Every file in a fixed order; a link gives itself, and what it leads to."""
    folders = [folder]
    while folders:
        place = folders.pop()
        for name in sorted(os.listdir(place)):  # noqa: PTH208 - names alone, 100,000 times
            path = f"{place}/{name}"
            seen = os.lstat(path)
            if S_ISDIR(seen.st_mode):
                folders.append(path)
                continue
            yield path, seen
            if S_ISLNK(seen.st_mode):
                yield path, _led_to(path, root)
            elif not S_ISREG(seen.st_mode):
                message = f"{shown(name)} is neither a file nor a folder"
                raise RegistryError(message, hint=_HINT)


def _led_to(link: str, root: str) -> os.stat_result:
    target = Path(os.path.realpath(link))
    if not target.is_relative_to(root):
        message = f"{shown(Path(link).name)} is a link that leads out of the registry"
        raise RegistryError(message, hint=_HINT)
    seen = os.lstat(target)
    if not S_ISREG(seen.st_mode):
        message = f"{shown(Path(link).name)} is a link to something that is no file"
        raise RegistryError(message, hint=_HINT)
    return seen
