"""A folder tree as a registry: MODEL/VERSION/..., every file below belongs to the version."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISDIR, S_ISLNK

from gatekeeper.errors import RegistryError, UsageError
from gatekeeper.foreign_text import visible
from gatekeeper.registry.contents import contents
from gatekeeper.registry.interface import Outcome, Version
from gatekeeper.registry.names import is_plain, shown
from gatekeeper.registry.redaction import in_one_line

_LOOSE = "lies outside any version: move it to MODEL/VERSION/"
_LINK = "is a link, and links are not followed: put the folder itself there"


class FolderRegistry:
    """Models as folders of version folders; hidden ones (`.name`) are audited like all others."""

    def __init__(self, root: Path) -> None:
        """Open the registry at `root`.

        Raises:
            UsageError: there is no such folder.
        """
        if not os.path.isdir(root):  # noqa: PTH112 - raises for no name, however odd
            message = f"there is no folder {in_one_line(root)}"
            raise UsageError(message, hint="Name the folder that holds MODEL/VERSION/ folders.")
        self.address = visible(str(root))
        self._root = str(root.resolve())

    def versions(self) -> Iterator[Version]:
        """Every version in the order of its names; needs memory for the names of one folder.

        What lies beside the version folders, and what is not readable, is listed with its fault.

        Raises:
            RegistryError: the registry's own folder cannot be listed.
        """
        try:
            models = sorted(os.listdir(self._root))  # noqa: PTH208 - names alone
        except OSError as error:
            message = f"{self.address} cannot be listed: {error.strerror}"
            raise RegistryError(message) from None
        for model in models:
            yield from self._model(model)

    def fetch(self, version: Version, into: Path) -> Path:
        """Give the version's own folder, after another look at it; nothing is copied.

        Raises:
            RegistryError: it was deleted, or has a fault by now.
        """
        folder = self._folder_of(version)
        try:
            contents(folder, self._root)
        except OSError as error:
            message = f"{version.address} cannot be read: {error.strerror}"
            raise RegistryError(message) from None
        return Path(folder)

    def publish(self, version: Version, outcome: Outcome) -> None:
        """Do nothing: the models' folders are not the gate's to write in."""

    def _model(self, model: str) -> Iterator[Version]:
        """Every version of a model; a model that has none for a fault has one without a name."""
        place = f"{self._root}/{model}"
        if fault := _fault_of_folder(place):
            yield self._version(model, "", fault=fault)
            return
        try:
            names = sorted(os.listdir(place))  # noqa: PTH208 - names alone
        except OSError as error:
            yield self._version(model, "", fault=f"cannot be listed: {error.strerror}")
            return
        for name in names:
            yield self._looked_at(model, name)

    def _looked_at(self, model: str, name: str) -> Version:
        folder = f"{self._root}/{model}/{name}"
        if fault := _fault_of_folder(folder):
            return self._version(model, name, fault=fault)
        try:
            found = contents(folder, self._root)
        except RegistryError as error:
            return self._version(model, name, fault=f"{error}. {error.hint}")
        except OSError as error:
            return self._version(model, name, fault=f"cannot be read: {error.strerror}")
        return self._version(model, name, fingerprint=found.fingerprint, size=found.bytes)

    def _version(
        self, model: str, name: str, *, fault: str = "", fingerprint: str = "", size: int = 0
    ) -> Version:
        return Version(
            model=shown(model),
            version=shown(name) if name else "",
            address=visible("/".join(filter(None, (self._root, model, name)))),
            fingerprint=fingerprint,
            bytes=None if fault else size,
            fault=fault,
        )

    def _folder_of(self, version: Version) -> str:
        """Find the folder again, by the names that were shown.

        Raises:
            RegistryError: it was deleted, or is no folder of its own.
        """
        folder = self._root
        for name in (version.model, version.version):
            folder = f"{folder}/{_named(folder, name)}"
            if fault := _fault_of_folder(folder):
                raise RegistryError(f"{version.address} {fault}")
        return folder


def _fault_of_folder(path: str) -> str:
    """Say why `path` is no folder of its own; "" where it is one."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return "was deleted"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if S_ISLNK(mode):
        return _LINK
    return "" if S_ISDIR(mode) else _LOOSE


def _named(folder: str, name: str) -> str:
    """Give the true name of what is shown as `name` in `folder`; itself where nothing is."""
    if is_plain(name):
        return name
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names alone
    except OSError:
        return shown(name)
    return next((each for each in names if shown(each) == name), shown(name))
