"""Reads what torch.save wrote, zip or legacy, without torch: only in the quarantine child."""

from __future__ import annotations

import io
import mmap
import struct
import zlib
from collections.abc import Mapping
from typing import Any, BinaryIO

from gatekeeper.candidate.archive import Archive, Member, content, read_archive
from gatekeeper.candidate.standins import DTYPES, MalformedError, Storage, UnsupportedError
from gatekeeper.candidate.unpickler import unpickled

_MOST_PICKLE = 64 << 20


def read_zip(stream: BinaryIO, mapped: mmap.mmap) -> tuple[Any, bool]:
    """Read a zip checkpoint; gives the object and whether its numbers are big-endian."""
    archive = read_archive(stream)
    loaded, storages, order = _described(stream, archive)
    for storage, member in storages:
        storage.data = member_bytes(stream, mapped, member)
    return loaded, order is not None and content(stream, order, 16) == b"big"


def check_zip(stream: BinaryIO, archive: Archive) -> None:
    """Check the tensors that a zip checkpoint describes, without their numbers.

    Raises:
        MalformedError: one does not fit its storage, or a storage its member.
        UnsupportedError: the gate does not read such a file.
    """
    _described(stream, archive)


def _described(
    stream: BinaryIO, archive: Archive
) -> tuple[Any, list[tuple[Storage, Member]], Member | None]:
    """Give what `data.pkl` holds, each storage with its member, and the member of byte order."""
    # As torch does: it does not tell large letters from small ones.
    by_name = {member.name.casefold(): member for member in archive.members}
    # As torch does, too: the first member tells the folder that all others stand in.
    folder = archive.members[0].name.casefold().partition("/")[0] if archive.members else ""
    prefix = next((p for p in ("", f"{folder}/") if f"{p}data.pkl" in by_name), None)
    if prefix is None:
        message = "the archive has no data.pkl where torch looks for it"
        raise UnsupportedError(message)
    root = by_name[f"{prefix}data.pkl"]
    if root.size > _MOST_PICKLE:
        message = f"its data.pkl has {root.size:,} bytes, more than {_MOST_PICKLE:,}"
        raise UnsupportedError(message)
    pickled = content(stream, root, _MOST_PICKLE)
    _check_crc(root, pickled)
    storages: dict[str, Storage] = {}
    loaded = unpickled(io.BytesIO(pickled), storages)
    held = []
    for storage in storages.values():
        member = by_name.get(f"{prefix}data/{storage.key}".casefold())
        if member is None:
            message = f"storage {storage.key!r} is missing from the archive"
            raise UnsupportedError(message)
        _check_size(member, storage)
        held.append((storage, member))
    return loaded, held, by_name.get(f"{prefix}byteorder")


def _check_size(member: Member, storage: Storage) -> None:
    wanted = storage.count * DTYPES[storage.dtype][1]
    if member.size != wanted:
        message = f"storage {storage.key!r} has {member.size} bytes, {wanted} are declared"
        raise MalformedError(message)


def member_bytes(stream: BinaryIO, mapped: mmap.mmap, member: Member) -> memoryview:
    """Give all bytes of a member, from the map where they are not packed.

    Raises:
        MalformedError: it inflates to another size than it says.
        UnsupportedError: its checksum is wrong.
    """
    if member.deflated:
        data = memoryview(content(stream, member, member.size + 1))
    else:
        data = memoryview(mapped)[member.start : member.start + member.stored]
    if len(data) != member.size:
        message = f"member {member.name!r} inflates to another size than it says"
        raise MalformedError(message)
    _check_crc(member, data)
    return data


def _check_crc(member: Member, data: bytes | memoryview) -> None:
    if zlib.crc32(data) != member.crc:
        message = f"member {member.name!r} has a wrong checksum: the file is damaged"
        raise UnsupportedError(message)


def read_legacy(stream: BinaryIO, mapped: mmap.mmap) -> tuple[Any, bool]:
    """Read a legacy checkpoint: five pickles, then each storage's count and bytes."""
    loaded, system, storages, keys = _told_by_legacy(stream)
    place = stream.tell()
    for key in keys:
        storage = storages[key]
        wanted = storage.count * DTYPES[storage.dtype][1]
        if place + 8 + wanted > len(mapped):
            message = "the file is cut off inside of its storages"
            raise UnsupportedError(message)
        if struct.unpack_from("<q", mapped, place)[0] != storage.count:
            message = f"storage {key!r} has another count than it declares"
            raise MalformedError(message)
        storage.data = memoryview(mapped)[place + 8 : place + 8 + wanted]
        place += 8 + wanted
    if place != len(mapped):
        message = f"{len(mapped) - place:,} bytes follow its last storage"
        raise UnsupportedError(message)
    if isinstance(system, Mapping) and not system.get("little_endian", True):
        # Torch reads such a file as if it were little-endian, which is another network.
        message = "it was saved on a big-endian machine"
        raise UnsupportedError(message)
    return loaded, False


def check_legacy(stream: BinaryIO) -> None:
    """Check the tensors that a legacy checkpoint describes; errors as of `check_zip`."""
    _told_by_legacy(stream)


def _told_by_legacy(stream: BinaryIO) -> tuple[Any, Any, dict[str, Storage], list[str]]:
    """Give the object, what is said of the machine, and the storages in their order."""
    stream.seek(0)
    storages: dict[str, Storage] = {}
    for _ in range(2):
        unpickled(stream, {})
    system = unpickled(stream, {})
    loaded = unpickled(stream, storages)
    keys = unpickled(stream, {})
    if not isinstance(keys, list) or set(map(str, keys)) != set(storages):
        message = "the list of storages does not fit the object"
        raise MalformedError(message)
    return loaded, system, storages, keys
