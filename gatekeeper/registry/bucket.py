"""A bucket, or a prefix in one, as a registry: MODEL/VERSION/..., through fsspec."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from gatekeeper.errors import RegistryError
from gatekeeper.foreign_text import visible
from gatekeeper.registry.bucket_faults import opened, told
from gatekeeper.registry.interface import Outcome, Version
from gatekeeper.registry.landing import landing
from gatekeeper.registry.names import inside, is_plain, shown, trouble_with
from gatekeeper.registry.redaction import redacted

_LOOSE = "lies outside any version: move it to MODEL/VERSION/"
_ODD = "its name cannot be a folder's: rename it"
_BLOCK = 8 << 20  # bytes asked for at once
# What stores tell about an object that changes with its bytes; `created` is all memory:// has.
_MARKS = ("ETag", "etag", "VersionId", "generation", "md5Hash", "content_md5", "LastModified",
          "last_modified", "updated", "mtime", "modified", "created")  # fmt: skip

Listed = dict[str, Any]  # one object, as fsspec tells it


class BucketRegistry:
    """Models as prefixes of version prefixes in anything that fsspec can read."""

    def __init__(self, address: str) -> None:
        """Refer to the bucket; nothing is asked of it yet.

        Raises:
            UsageError: nothing here can read such an address.
        """
        self.address = visible(redacted(address)).rstrip("/")
        self._store, self._root = opened(address)

    def versions(self) -> Iterator[Version]:
        """Every version; needs memory for the listing of one model.

        Raises:
            RegistryError: the bucket does not answer, or there is nothing at its address.
        """
        with told(self.address):
            found = self._store.ls(self._root, detail=True)
        entries = sorted({(self._below(each["name"]), each["type"]) for each in found})
        if not entries:
            message = f"there is nothing at {self.address}"
            raise RegistryError(message, hint="Look for a typo, and see that you may list it.")
        for model, kind in entries:
            if kind == "directory":
                yield from self._model(model)
            elif model:  # else the marker that a console leaves for an empty folder
                yield self._version(model, "", fault=_LOOSE)

    def fetch(self, version: Version, into: Path) -> Path:
        """Copy every object of the version into a folder in `into`, block by block.

        Raises:
            RegistryError: it was deleted, changed while it was read, has a fault, or the bucket
                or the disk does not serve.
        """
        if version.fault or not (is_plain(version.model) and is_plain(version.version)):
            raise RegistryError(f"{version.address}: {version.fault or _ODD}")
        place = f"{self._root}/{version.model}/{version.version}"
        with told(version.address):
            members = self._members(place)
            if not members:
                raise FileNotFoundError
            if fault := _fault(members):
                raise RegistryError(f"{version.address}: {fault}")
            with landing(into, _size(members)) as folder:
                for member, listed in members.items():
                    self._copy(listed, inside(folder, member), version.address)
                return folder

    def publish(self, version: Version, outcome: Outcome) -> None:
        """Do nothing: a bucket has no place for a verdict that is not taken for a model's file."""

    def _model(self, model: str) -> Iterator[Version]:
        if not is_plain(model):
            yield self._version(model, "", fault=_ODD)
            return
        place = f"{self._root}/{model}"
        try:
            with told(f"{self.address}/{model}"):
                found = self._members(place)
        except RegistryError as error:
            if error.passing:
                raise
            yield self._version(model, "", fault=f"cannot be listed: {error}. {error.hint}".strip())
            return
        for name, group in groupby(sorted(found), key=lambda member: member.partition("/")[0]):
            members = {member.partition("/")[2]: found[member] for member in group}
            yield self._described(model, name, members)

    def _described(self, model: str, name: str, members: dict[str, Listed]) -> Version:
        if not is_plain(name):
            return self._version(model, name, fault=_ODD)
        fault = _LOOSE if "" in members else _fault(members)
        if fault:
            return self._version(model, name, fault=fault)
        return self._version(model, name, fingerprint=_fingerprint(members), size=_size(members))

    def _version(
        self,
        model: str,
        name: str,
        *,
        fault: str = "",
        fingerprint: str = "",
        size: int | None = None,
    ) -> Version:
        names = [shown(model), *([shown(name)] if name else [])]
        return Version(
            model=names[0],
            version=names[1] if name else "",
            address="/".join((self.address, *names)),
            fingerprint=fingerprint,
            bytes=size,
            fault=fault,
        )

    def _members(self, place: str) -> dict[str, Listed]:
        """Every object below `place` by its name there, sorted; no folder markers."""
        found = self._store.find(place, detail=True)
        return {
            name.removeprefix(f"{place}/"): found[name]
            for name in sorted(found)
            if not (name.endswith("/") and not found[name]["size"])
        }

    def _below(self, name: str) -> str:
        return name.removeprefix(self._root).removeprefix("/")

    def _copy(self, listed: Listed, target: Path, address: str) -> None:
        """Copy one object; as many bytes as were listed, and no more."""
        left = int(listed["size"])
        target.parent.mkdir(parents=True, exist_ok=True)
        asked = {"block_size": _BLOCK, "cache_type": "none"}
        with self._store.open(listed["name"], "rb", **asked) as source, target.open("xb") as sink:
            while left >= 0 and (block := source.read(min(_BLOCK, left + 1))):
                left -= len(block)
                if left >= 0:
                    sink.write(block)
        if left:
            message = f"{address} changed while it was read"
            raise RegistryError(message, hint="Audit again.", passing=True)


def _fault(members: dict[str, Listed]) -> str:
    for member, listed in members.items():
        if trouble := trouble_with(member):
            return trouble
        if not isinstance(listed.get("size"), int):
            return f"the store does not tell the size of {member}"
    return ""


def _size(members: dict[str, Listed]) -> int:
    return sum(int(listed["size"]) for listed in members.values())


def _fingerprint(members: dict[str, Listed]) -> str:
    """Digest names, sizes and marks; nothing where some object has no mark that tells a change."""
    digest = hashlib.sha256()
    for member, listed in members.items():
        marks = [f"{mark}={listed[mark]}" for mark in _MARKS if listed.get(mark)]
        if not marks:
            return ""
        digest.update(repr((member, listed["size"], marks)).encode())
    return f"sha256:{digest.hexdigest()}"
