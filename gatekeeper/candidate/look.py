"""Looks into a file without parsing it: its kind, its pickles, the structure of its archive."""

from __future__ import annotations

import io
import logging
import mmap
import warnings
from typing import BinaryIO

from gatekeeper.candidate import npy, safetensors_file
from gatekeeper.candidate.allowed import JOBLIB, is_allowed, is_known_module
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
from gatekeeper.candidate.partials import PARTIAL
from gatekeeper.candidate.pickles import (
    Walk,
    foreign_classes,
    looks_like_names,
    suspicions,
    walk,
)
from gatekeeper.candidate.salvage import salvaged
from gatekeeper.candidate.seen import Seen
from gatekeeper.candidate.standins import DTYPES, MalformedError, UnsupportedError

_SMALL = 1 << 20  # bytes
_MOST_PICKLE = 64 << 20  # bytes of one pickle that must be held in memory
_MOST_PICKLES = 1000
_LAYERED = ("torch-zip", "torch-legacy")  # whole networks of known layers are read from these
_SCRIPT = ("__torch__.", "torch.jit._pickle.")


def look(stream: BinaryIO, seen: Seen) -> str:
    """Look at an open file, note in `seen` what is found, and name its kind."""
    stream = _at_hand(stream)
    kind = kind_of(stream)
    if kind == "zip":
        kind = _look_at_archive(stream, seen)
        stream.seek(0)
        if stream.read(2) != b"PK":
            _walk_all(stream, seen, certain=False)
    elif kind == "torch-legacy":
        _look_at_legacy(stream, seen)
    elif kind == "pickle":
        _walk_all(stream, seen)
        if not JOBLIB.isdisjoint(seen.foreign):
            kind = "joblib"
            _look_at_joblib(stream, seen)
    elif kind == "npy":
        _look_at_array(stream, seen)
    else:
        # A plain pickle hides under any name, and protocol 0 has no magic.
        _walk_all(stream, seen, certain=False)
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
    walked = _walk_all(stream, seen, most=PICKLES)
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
        _walk_all(stream, seen, start=end, certain=False)


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
    _walk_all(stream, seen, name, start=start + place, end=end, certain=objects, objects=objects)


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
    leaves = {member: member.name.casefold().rpartition("/")[2] for member in archive.members}
    roots = [member.name for member, leaf in leaves.items() if leaf == "data.pkl"]
    if kind == "torch-zip" and len(roots) > 1:
        seen.refuse(f"the archive has more than one data.pkl: {roots[0]!r}, {roots[1]!r}")
    for member in archive.members:
        named = leaves[member].endswith((".pkl", ".pickle"))
        _look_at_member(stream, member, seen, certain=named, script=kind == "torchscript")
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
        if certain and member.size > _MOST_PICKLE:
            seen.refuse(f"member {name!r} has {member.size:,} bytes, too many to walk")
        data = _inflated(stream, member, seen)
        stream, start, end = io.BytesIO(data), 0, len(data)
    stream.seek(start)
    if name.endswith(".npy") or stream.read(len(npy.MAGIC)) == npy.MAGIC:
        _look_at_array(stream, seen, member, start=start, end=end)
    else:
        _walk_all(stream, seen, name, start=start, end=end, certain=certain, script=script)


def _inflated(stream: BinaryIO, member: Member, seen: Seen) -> bytes:
    try:
        return content(stream, member, min(member.size, _MOST_PICKLE))
    except ArchiveError as error:
        seen.refuse(str(error))
        return b""


def _walk_all(
    stream: BinaryIO,
    seen: Seen,
    member: str = "",
    *,
    start: int = 0,
    end: int | None = None,
    certain: bool = True,
    most: int = _MOST_PICKLES,
    script: bool = False,
    objects: bool = False,
) -> list[Walk]:
    """Walk pickle after pickle; where it may be no pickle at all, only what executes counts.

    Gives those that were walked to their end.
    """
    done: list[Walk] = []
    here = f"member {member!r}" if member else "the pickle"
    begin, end = start, stream.seek(0, 2) if end is None else end
    for count in range(most):
        if start >= end:
            return done
        stream.seek(start)
        walked = walk(stream, seen.opcodes_left, end)
        seen.opcodes_left -= walked.opcodes
        if walked.too_long:
            seen.refuse(f"{here} is {walked.broken}")
        # What follows the last pickle of a file need not be one.
        if count and walked.broken and not walked.globals and most != PICKLES:
            return done
        if certain or _runs(walked):
            if walked.broken and certain:
                seen.refuse(f"{here} is {walked.broken}")
            rule = "code-execution" if certain or not member else "hidden-pickle"
            # What holds arrays of objects by its kind is never accepted, and need be no attack.
            kept = objects or any(found.name in JOBLIB for found in walked.globals)
            _judge(
                stream, walked, seen, rule, member, start=start, begin=begin, script=script,
                objects=kept,
            )  # fmt: skip
        if walked.broken:
            return done
        done.append(walked)
        start = walked.end
    if certain and most == _MOST_PICKLES and start < end:
        seen.refuse(f"{here} is followed by more than {_MOST_PICKLES:,} others")
    return done


def _runs(walked: Walk) -> bool:
    return (walked.executes or not walked.broken) and looks_like_names(walked)


def _judge(
    stream: BinaryIO, walked: Walk, seen: Seen, rule: str, member: str, *,
    start: int, begin: int, script: bool, objects: bool,
) -> None:  # fmt: skip
    """Turn what one pickle would do into findings, with offsets from the member's beginning."""
    before = len(seen.findings)
    for suspicion in suspicions(walked, objects=objects):
        if not (script and suspicion.name.startswith(_SCRIPT)):
            message = f"the pickle {suspicion.how} {suspicion.name}"
            seen.add(rule, "critical", message, member, start - begin + suspicion.offset)
    if not script:
        read = not member or member.casefold().endswith("data.pkl")
        for name in foreign_classes(walked):
            (seen.layers if read and is_known_module(name) else seen.foreign).append(name)
    # What is on the short list it takes for harmless as well (a test holds the two together).
    open_names = any(not is_allowed(found.name) for found in walked.globals)
    if len(seen.findings) == before and open_names and not walked.broken:
        stream.seek(start)
        _second_opinion(stream.read(min(walked.end - start, _MOST_PICKLE)), member, seen)


def _second_opinion(pickle: bytes, member: str, seen: Seen) -> None:
    """Ask picklescan, which keeps a list of known attacks, about a pickle that we let through."""
    from picklescan import scanner

    logging.getLogger("picklescan").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # as in `walk`
        result = scanner.scan_pickle_bytes(io.BytesIO(pickle), member, multiple_pickles=False)
    for found in result.globals:
        name = f"{found.module}.{found.name}"
        # Only where what it is given was followed does a pickle with one come here.
        if found.safety == scanner.SafetyLevel.Dangerous and name != PARTIAL:
            seen.add(
                "code-execution", "critical", f"picklescan calls {name} an attack", member, None
            )
