"""Looks into a file without parsing it: its kind, its pickles, the structure of its archive."""

from __future__ import annotations

import io
import mmap
from typing import BinaryIO

from gatekeeper.candidate import npy, safetensors_file
from gatekeeper.candidate.allowed import JOBLIB
from gatekeeper.candidate.archive import (
    Archive,
    ArchiveError,
    Member,
    content,
    is_whole,
    read_archive,
)
from gatekeeper.candidate.graph import hostile, outline
from gatekeeper.candidate.joblib_file import spelled_out
from gatekeeper.candidate.kinds import UNREADABLE, kind_of
from gatekeeper.candidate.legacy import PICKLES, end_of_storages
from gatekeeper.candidate.salvage import salvaged
from gatekeeper.candidate.seen import Seen
from gatekeeper.candidate.standins import DTYPES, MalformedError, UnsupportedError
from gatekeeper.candidate.walks import MOST_PICKLE, walk_all

_SMALL = 1 << 20  # bytes
_LAYERED = ("torch-zip", "torch-legacy")  # whole networks of known layers are read from these


def look(stream: BinaryIO, seen: Seen) -> str:
    """Look at an open file, note in `seen` what is found, and name its kind."""
    stream = _at_hand(stream)
    kind = kind_of(stream)
    if kind == "zip":
        kind = _look_at_archive(stream, seen)
        stream.seek(0)
        if stream.read(2) != b"PK":
            walk_all(stream, seen, certain=False)
    elif kind == "torch-legacy":
        _look_at_legacy(stream, seen)
    elif kind == "pickle":
        walk_all(stream, seen)
        if not JOBLIB.isdisjoint(seen.foreign):
            kind = "joblib"
            _look_at_joblib(stream, seen)
    elif kind == "npy":
        _look_at_array(stream, seen)
    else:
        # A plain pickle hides under any name, and protocol 0 has no magic.
        walk_all(stream, seen, certain=False)
        if seen.findings:
            kind = "pickle"
        elif kind == "safetensors":
            _look_at_header(stream, seen)
        elif kind == "onnx":
            _look_at_graph(stream, seen)
    strangers = seen.foreign + (seen.layers if kind not in _LAYERED else [])
    if strangers and kind not in ("torchscript", "pt2"):
        names = ", ".join(dict.fromkeys(strangers[:3]))
        reason, hint = UNREADABLE["whole-module"]
        seen.refuse(f"{reason} ({names})", hint)
    return kind


def _at_hand(stream: BinaryIO) -> BinaryIO:
    """Hold a small file in memory: it is gone through many times."""
    if stream.seek(0, 2) > _SMALL:
        return stream
    stream.seek(0)
    return io.BytesIO(stream.read(_SMALL + 1))


def _look_at_legacy(stream: BinaryIO, seen: Seen) -> None:
    walked = walk_all(stream, seen, most=PICKLES)
    if seen.unreadable or len(walked) < PICKLES:
        seen.refuse("the file is cut off inside of its pickles")
        return
    storages = {key: one for walk_ in walked for key, one in walk_.storages.items()}
    try:
        end = end_of_storages(stream, walked[-1].end, storages, walked[-1].words)
    except ValueError as error:
        seen.refuse(str(error))
        return
    if left := stream.seek(0, 2) - end:
        # Whoever loads from the same open file once more runs what stands there.
        seen.refuse(f"{left:,} bytes follow its last storage")
        walk_all(stream, seen, start=end, certain=False)


def _look_at_joblib(stream: BinaryIO, seen: Seen) -> None:
    # Where its raw numbers begin, the walk broke off: that is no reason to tell.
    seen.unreadable, seen.hint = UNREADABLE["joblib"]
    known = {finding.offset for finding in seen.findings}
    for found in spelled_out(stream):
        if found.offset not in known:
            known.add(found.offset)
            message = f"the pickle {found.how} {found.name}"
            seen.add("code-execution", "critical", message, "", found.offset)


def _look_at_header(stream: BinaryIO, seen: Seen) -> None:
    try:
        safetensors_file.check(stream)
    except safetensors_file.SafetensorsError as error:
        seen.refuse(f"the safetensors file is malformed: {error}")


def _look_at_array(
    stream: BinaryIO, seen: Seen, member: Member | None = None, *, start: int = 0,
    end: int | None = None,
) -> None:  # fmt: skip
    """Walk what follows a numpy array's header: objects are pickled there."""
    size = stream.seek(0, 2) if member is None else member.size
    name = member.name if member is not None else ""
    stream.seek(start)
    where = f"member {name!r}" if name else "the array"
    objects = False
    try:
        header = npy.read_header(stream.read(npy.MOST_HEADER + 12))
        place = header.start
        held = size - place
        if held != header.elements * DTYPES[header.dtype][1]:
            message = f"{where} has {held:,} bytes of numbers, its header says {header.elements:,}"
            seen.add("malformed-tensor", "critical", f"{message} numbers", name, None)
    except npy.NpyError as error:
        seen.refuse(f"{where} cannot be read: {error}", UNREADABLE["npy"][1])
        place, objects = error.start, error.objects
    walk_all(stream, seen, name, start=start + place, end=end, certain=objects, objects=objects)


def _look_at_graph(stream: BinaryIO, seen: Seen) -> None:
    try:
        why = outline.read(_mapped(stream))[2]
    except hostile.HostileError as error:
        seen.add(error.rule, "critical", str(error), "", None)
    except MalformedError as error:
        seen.add("malformed-tensor", "critical", str(error), "", None)
    except UnsupportedError as error:
        seen.refuse(str(error))
    else:
        if why:
            seen.refuse(why, "Ask its maker for a state dict or safetensors, and give --card.")


def _mapped(stream: BinaryIO) -> memoryview:
    try:
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    except io.UnsupportedOperation:  # it lies in memory already
        stream.seek(0)
        return memoryview(stream.read())


def _look_at_archive(stream: BinaryIO, seen: Seen) -> str:
    try:
        archive = read_archive(stream)
    except ArchiveError as error:
        seen.refuse(str(error), "Fetch the file again, or ask its maker to save it again.")
        _look_at_salvage(stream, seen)
        return "torch-zip"
    seen.members = len(archive.members)
    for message in archive.hostile:
        seen.add("archive-structure", "high", message, "", None)
    if archive.odd:
        seen.refuse(f"the archive is not what torch writes: {archive.odd[0]}")
    kind = _archive_kind(archive)
    # Torch finds a member whatever the case of its letters.
    named = [(member, member.name.casefold().rpartition("/")[2]) for member in archive.members]
    roots = [member.name for member, leaf in named if leaf == "data.pkl"]
    if kind == "torch-zip" and len(roots) > 1:
        seen.refuse(f"the archive has more than one data.pkl: {roots[0]!r}, {roots[1]!r}")
    for member, leaf in named:
        certain = leaf.endswith((".pkl", ".pickle"))
        _look_at_member(stream, member, seen, certain=certain, script=kind == "torchscript")
        if not is_whole(stream, member):
            seen.refuse(f"member {member.name!r} is damaged: its size or checksum does not fit")
    if archive.odd and not seen.findings:
        # What its directory does not lead to may be what another reader finds.
        _look_at_salvage(stream, seen)
    return kind


def _look_at_salvage(stream: BinaryIO, seen: Seen) -> None:
    for member in salvaged(stream):
        _look_at_member(stream, member, seen, certain=False)


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
    stream: BinaryIO, member: Member, seen: Seen, *, certain: bool, script: bool = False
) -> None:
    """Walk a member whatever it is called: what is no pickle ends after a few bytes."""
    name, start, end = member.name, member.start, member.start + member.stored
    if member.deflated:
        if certain and member.size > MOST_PICKLE:
            seen.refuse(f"member {name!r} has {member.size:,} bytes, too many to walk")
        data = _inflated(stream, member, seen)
        stream, start, end = io.BytesIO(data), 0, len(data)
    stream.seek(start)
    if name.endswith(".npy") or stream.read(len(npy.MAGIC)) == npy.MAGIC:
        _look_at_array(stream, seen, member, start=start, end=end)
    else:
        walk_all(stream, seen, name, start=start, end=end, certain=certain, script=script)


def _inflated(stream: BinaryIO, member: Member, seen: Seen) -> bytes:
    try:
        return content(stream, member, min(member.size, MOST_PICKLE))
    except ArchiveError as error:
        seen.refuse(str(error))
        return b""
