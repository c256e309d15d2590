"""Looks into a zip archive, member by member, and into the archives among its members.

What is found in an archive inside of another is told of member `outer!inner`.
"""

from __future__ import annotations

import io
import re
from typing import BinaryIO

from gatekeeper.candidate import npy
from gatekeeper.candidate.archive import (
    MAGIC,
    Archive,
    ArchiveError,
    Member,
    content,
    has_end_record,
    is_whole,
    most_inflated,
    read_archive,
)
from gatekeeper.candidate.arrays import look_at_array_member
from gatekeeper.candidate.described import check_described
from gatekeeper.candidate.kinds import UNREADABLE, packer_of
from gatekeeper.candidate.salvage import salvaged
from gatekeeper.candidate.seen import Seen
from gatekeeper.candidate.torchfile import check_zip
from gatekeeper.candidate.walks import MOST_PICKLE, walk_all
from gatekeeper.candidate.window import window

_MOST_DEPTH = 3  # archives inside of each other, the file itself not counted
_UNPACK = "Unpack it, and inspect what is in it."
_STORAGE = re.compile(r"(?:.*/)?data/[0-9]+", re.DOTALL)


def look_at_archive(stream: BinaryIO, seen: Seen, path: str = "", depth: int = 0) -> str:
    """Look into an archive, note in `seen` what is found, and name its kind.

    Args:
        stream: the archive, from its first byte to its last.
        seen: takes what is found.
        path: which member of the file it is; "" where it is the file.
        depth: how many archives it stands in.
    """
    told = f"member {path!r}: " if path else ""
    try:
        archive = read_archive(stream)
    except ArchiveError as error:
        seen.refuse(f"{told}{error}", error.hint)
        _look_at_salvage(stream, seen, path)
        return "torch-zip"
    if not depth:
        seen.members = len(archive.members)
        seen.inflated_left = most_inflated(stream.seek(0, 2))
    if not seen.affords(archive.members):
        seen.refuse(f"{told}the archives inside of the file hold too much to look at", _UNPACK)
        return "zip"
    for message in archive.hostile:
        seen.add("archive-structure", "high", message, path, None)
    if archive.odd:
        seen.refuse(f"{told}the archive is not what torch writes: {archive.odd[0]}")
    kind = _archive_kind(archive)
    if path and kind == "torchscript":
        # What its own names stand for was not judged.
        seen.refuse(f"{told}{UNREADABLE[kind][0]}", UNREADABLE[kind][1])
    _look_at_members(stream, archive, kind, seen, path, depth)
    if archive.odd and not seen.findings:
        # What its directory does not lead to may be what another reader finds.
        _look_at_salvage(stream, seen, path)
    if kind == "torch-zip":
        root = next(member for member in archive.members if _leaf(member) == "data.pkl")
        check_described(lambda: check_zip(stream, archive), seen, _path(path, root))
    return kind


def _look_at_members(
    stream: BinaryIO, archive: Archive, kind: str, seen: Seen, path: str, depth: int
) -> None:
    # Torch finds a member whatever the case of its letters.
    named = [(member, _leaf(member)) for member in archive.members]
    roots = [member.name for member, leaf in named if leaf == "data.pkl"]
    if kind == "torch-zip" and len(roots) > 1:
        seen.refuse(f"the archive has more than one data.pkl: {roots[0]!r}, {roots[1]!r}")
    for member, leaf in named:
        certain = leaf.endswith((".pkl", ".pickle"))
        script = kind == "torchscript"
        _look_at_member(stream, member, seen, path, depth, certain=certain, script=script)
        if not is_whole(stream, member):
            name = _path(path, member)
            seen.refuse(f"member {name!r} is damaged: its size or checksum does not fit")


def _look_at_salvage(stream: BinaryIO, seen: Seen, path: str) -> None:
    for member in salvaged(stream):
        seen.members_left -= 1
        if seen.members_left < 0:
            return
        # The file is refused already: no archive in it is worth its time.
        _look_at_member(stream, member, seen, path, _MOST_DEPTH, certain=False, exact=False)


def _leaf(member: Member) -> str:
    return member.name.casefold().rpartition("/")[2]


def _path(path: str, member: Member) -> str:
    return f"{path}!{member.name}" if path else member.name


def _archive_kind(archive: Archive) -> str:
    names = [member.name.casefold() for member in archive.members]
    leaves = {name.rsplit("/", 1)[-1] for name in names}
    paths = {name.split("/", 1)[-1] for name in names}
    if "constants.pkl" in leaves and any(path.startswith("code/") for path in paths):
        return "torchscript"
    if "archive_format" in leaves or "serialized_exported_program.json" in leaves:
        return "pt2"
    if {"metadata.json", "config.json"} <= leaves:
        return "keras"
    if archive.members and all(name.endswith(".npy") for name in leaves):
        return "npz"
    return "torch-zip" if "data.pkl" in leaves else "zip"


def _look_at_member(
    stream: BinaryIO, member: Member, seen: Seen, path: str, depth: int, *,
    certain: bool, script: bool = False, exact: bool = True,
) -> None:  # fmt: skip
    """Walk a member whatever it is called: what is no pickle ends after a few bytes.

    `exact` tells whether its size is known, and not only bounded.
    """
    name, start, end = _path(path, member), member.start, member.start + member.stored
    if member.deflated:
        if certain and member.size > MOST_PICKLE:
            seen.refuse(f"member {name!r} has {member.size:,} bytes, too many to walk")
        data = _inflated(stream, member, seen)
        stream, start, end = io.BytesIO(data), 0, len(data)
    is_storage = _STORAGE.fullmatch(member.name) is not None
    stream.seek(start)
    # A tar tells itself by its first 512 bytes; there may be thousands of storages.
    head = stream.read(min(len(npy.MAGIC) if is_storage else 512, end - start))
    if head.startswith(MAGIC):
        inner = window(stream, start, end)
        cut = member.deflated and member.size > MOST_PICKLE
        # The numbers of a storage may begin so by chance, but not end so as well.
        if not is_storage or cut or has_end_record(stream, start, end):
            _look_at_inner(inner, seen, name, depth + 1, cut=cut)
            return
    elif not is_storage and has_end_record(stream, start, end):
        # What stands before an archive hides it from nobody who reads from its end.
        _look_at_inner(window(stream, start, end), seen, name, depth + 1, cut=False)
    elif not is_storage and (packer := packer_of(head)):
        # A storage may begin like any of them by chance.
        seen.refuse(f"member {name!r} is an archive of its own ({packer})", _UNPACK)
    if member.name.endswith(".npy") or head.startswith(npy.MAGIC):
        size = member.size if exact else None
        look_at_array_member(stream, seen, name, start, end, size=size)
    else:
        walk_all(
            stream, seen, name, start=start, end=end, origin=start, certain=certain,
            numbers=is_storage, script=script,
        )  # fmt: skip


def _look_at_inner(stream: BinaryIO, seen: Seen, name: str, depth: int, *, cut: bool) -> None:
    if depth > _MOST_DEPTH:
        message = f"member {name!r} is an archive inside of more than {_MOST_DEPTH - 1} others"
        seen.refuse(message, _UNPACK)
    elif cut:
        seen.refuse(f"member {name!r} is a packed archive, too long to look into", _UNPACK)
    else:
        look_at_archive(stream, seen, name, depth)


def _inflated(stream: BinaryIO, member: Member, seen: Seen) -> bytes:
    try:
        return content(stream, member, min(member.size, MOST_PICKLE))
    except ArchiveError as error:
        seen.refuse(str(error))
        return b""
