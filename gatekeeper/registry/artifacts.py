"""The files of an MLflow version: listed before they are fetched, and counted afterwards."""

from __future__ import annotations

import os
from pathlib import Path
from stat import S_ISREG
from typing import Any

from gatekeeper.errors import RegistryError
from gatekeeper.registry.names import shown, trouble_with

Files = dict[str, int | None]  # names with slashes -> bytes, where the store tells

_MOST = 100_000  # files and folders of one version
_DEEPEST = 64


def listed(repository: Any) -> Files:
    """Give every file of an artifact repository; a file that stands alone gives none.

    Raises:
        RegistryError: a name leads out of its folder, or the listing has no end.
    """
    files: Files = {}
    folders, seen = [""], 0
    while folders:
        place = folders.pop()
        for entry in repository.list_artifacts(place or None):
            seen += 1
            _check_entry(entry.path, place, seen)
            if entry.is_dir:
                folders.append(entry.path)
            else:
                files[entry.path] = entry.file_size
    return files


def listed_alone(repository: Any, name: str) -> Files:
    """Give the one file `name` of a repository.

    Raises:
        RegistryError: there is none.
    """
    for entry in repository.list_artifacts(None):
        if entry.path == name and not entry.is_dir and not trouble_with(name):
            return {name: entry.file_size}
    message = "it holds no file: its artifacts were deleted, or it was registered without any"
    raise RegistryError(message, hint="Delete the version, or log its artifacts again.")


def size(files: Files) -> int:
    """Sum the bytes that are known."""
    return sum(known or 0 for known in files.values())


def check(folder: Path, files: Files) -> None:
    """Hold what arrived against what was listed.

    Raises:
        RegistryError: something is missing, came short, came besides, or is no file.
    """
    arrived = {}
    for place, folders, names in os.walk(folder):
        for name in [*names, *(each for each in folders if Path(place, each).is_symlink())]:
            path = Path(place, name)
            found = path.lstat()
            if not S_ISREG(found.st_mode):
                raise RegistryError(f"{shown(name)} arrived as something that is no file")
            arrived[path.relative_to(folder).as_posix()] = found.st_size
    wrong = sorted(
        name
        for name in arrived.keys() | files.keys()
        if name not in arrived or files.get(name, -1) not in {None, arrived[name]}
    )
    if wrong:
        message = f"{shown(wrong[0])} is not what was listed: the version changed, or came short"
        raise RegistryError(message, hint="Audit again.", passing=True)


def _check_entry(path: str, place: str, seen: int) -> None:
    if trouble := trouble_with(path):
        raise RegistryError(trouble)
    if not path.startswith(f"{place}/" if place else "") or path == place:
        raise RegistryError(f"the store lists {shown(path)} where it is not")
    if seen > _MOST or path.count("/") > _DEEPEST:
        message = f"the version has more than {_MOST:,} files, or folders {_DEEPEST} deep"
        raise RegistryError(message)
