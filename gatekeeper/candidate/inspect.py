"""Static inspection: the kind of file, its digest, and what it would do if it were loaded.

Nothing is parsed by torch, nothing is imported, nothing runs. Unparsed is never clean.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from gatekeeper.candidate.archive import Archive, ArchiveError, Member, content, read_archive
from gatekeeper.candidate.kinds import UNREADABLE, kind_of
from gatekeeper.candidate.pickles import Walk, foreign_classes, looks_like_names, suspicions, walk
from gatekeeper.errors import CandidateError
from gatekeeper.records import Artifact, Finding

_MOST_PICKLE = 64 << 20  # bytes of one pickle member
_LEGACY_PICKLES = 5  # magic, protocol, system, object, storage keys; then raw storages


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What was seen; `unreadable` says why the file cannot be accepted, "" where it can be."""

    artifact: Artifact
    findings: tuple[Finding, ...]
    unreadable: str = ""
    hint: str = ""
    members: int = 0


def inspect(path: Path) -> Inspection:
    """Inspect the file at `path`, opened once.

    Raises:
        CandidateError: no regular file, or it cannot be opened.
    """
    with _open(path) as stream:
        return inspect_stream(stream, str(path))


def private_copy(path: Path, directory: Path) -> BinaryIO:
    """Copy the file into an unlinked one in `directory`: what is hashed is what is parsed.

    Raises:
        CandidateError: no regular file, or it cannot be read.
    """
    with _open(path) as stream:
        # Closed by the caller, who parses it.
        copy = tempfile.TemporaryFile(dir=directory, buffering=1 << 20)  # noqa: SIM115
        shutil.copyfileobj(stream, copy, 1 << 20)
    copy.seek(0)
    return cast(BinaryIO, copy)


def inspect_stream(stream: BinaryIO, path: str) -> Inspection:
    """Inspect an open regular file from its beginning."""
    stream.seek(0)
    digest = hashlib.file_digest(cast(io.BufferedReader, stream), "sha256").hexdigest()
    size = stream.seek(0, 2)
    seen = _Seen()
    kind = _look(stream, seen)
    artifact = Artifact(path=path, kind=kind, sha256=digest, bytes=size)
    if not seen.unreadable and kind in UNREADABLE:
        seen.unreadable, seen.hint = UNREADABLE[kind]
    return Inspection(
        artifact=artifact,
        findings=tuple(seen.findings),
        unreadable=seen.unreadable,
        hint=seen.hint,
        members=seen.members,
    )


class _Seen:
    """What the look at one file gathers."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.unreadable = ""
        self.hint = ""
        self.members = 0
        self.foreign: list[str] = []

    def refuse(self, reason: str, hint: str = "Ask its maker to save it again.") -> None:
        if not self.unreadable:
            self.unreadable, self.hint = reason, hint

    def add(self, rule: str, severity: str, message: str, member: str, offset: int | None) -> None:
        self.findings.append(
            Finding(
                rule_id=rule,
                screen="inspect",
                severity=severity,  # type: ignore[arg-type]
                message=message,
                member=member,
                offset=offset,
            )
        )


def _open(path: Path) -> BinaryIO:
    """Open a regular file without waiting on a pipe or a device."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            what = "directory" if stat.S_ISDIR(mode) else "pipe, socket or device"
            message = f"{path} is a {what}, not a file"
            raise CandidateError(message, hint="Give the path of one model file.")
        stream = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError as error:
        message = f"cannot open {path}: {error.strerror}"
        raise CandidateError(message, hint="Check the path and its permissions.") from None
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.close()
        message = f"{path} changed while it was opened"
        raise CandidateError(message, hint="Scan a copy that nobody writes to.")
    return stream


def _look(stream: BinaryIO, seen: _Seen) -> str:
    kind = kind_of(stream)
    if kind == "zip":
        kind = _look_at_archive(stream, seen)
        stream.seek(0)
        if stream.read(2) != b"PK":
            _walk_all(stream, "", seen, start=0, certain=False)
    elif kind == "torch-legacy":
        _walk_all(stream, "", seen, start=0, most=_LEGACY_PICKLES)
    elif kind == "pickle":
        _walk_all(stream, "", seen, start=0)
    elif kind in ("unknown", "onnx", "one-byte", "html", "safetensors"):
        # A plain pickle hides under any name, and protocol 0 has no magic.
        _walk_all(stream, "", seen, start=0, certain=False)
        if seen.findings:
            kind = "pickle"
    if seen.foreign and kind not in ("torchscript", "pt2"):
        names = ", ".join(dict.fromkeys(seen.foreign[:3]))
        reason, hint = UNREADABLE["whole-module"]
        seen.refuse(f"{reason} ({names})", hint)
    return kind


def _look_at_archive(stream: BinaryIO, seen: _Seen) -> str:
    try:
        archive = read_archive(stream)
    except ArchiveError as error:
        seen.refuse(str(error), "Fetch the file again, or ask its maker to save it again.")
        return "torch-zip"
    seen.members = len(archive.members)
    for message in archive.hostile:
        seen.add("archive-structure", "high", message, "", None)
    if archive.odd:
        seen.refuse(f"the archive is not what torch writes: {archive.odd[0]}")
    kind = _archive_kind(archive)
    for member in archive.members:
        _look_at_member(stream, member, seen, kind)
    return kind


def _archive_kind(archive: Archive) -> str:
    leaves = {member.name.rsplit("/", 1)[-1] for member in archive.members}
    paths = {member.name.split("/", 1)[-1] for member in archive.members}
    if "constants.pkl" in leaves and any(path.startswith("code/") for path in paths):
        return "torchscript"
    if "archive_format" in leaves or "serialized_exported_program.json" in leaves:
        return "pt2"
    if {"metadata.json", "config.json"} <= leaves:
        return "keras"
    return "torch-zip" if "data.pkl" in leaves else "zip"


def _look_at_member(stream: BinaryIO, member: Member, seen: _Seen, kind: str) -> None:
    named = member.name.endswith((".pkl", ".pickle"))
    storage = "/data/" in member.name or member.name.startswith("data/")
    try:
        head = content(stream, member, 64)
        if storage and not named and not _begins_like_pickle(head):
            return
        if member.size > _MOST_PICKLE:
            if named:
                seen.refuse(f"member {member.name!r} has {member.size:,} bytes, too many to walk")
            return
        data = content(stream, member, _MOST_PICKLE + 1)
    except ArchiveError as error:
        seen.refuse(str(error))
        return
    if len(data) > _MOST_PICKLE or (named and len(data) != member.size):
        seen.refuse(f"member {member.name!r} is not as large as it says")
    if kind == "torchscript":
        return
    _walk_all(io.BytesIO(data), member.name, seen, start=0, certain=named)


def _begins_like_pickle(head: bytes) -> bool:
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return True
    return head[:1] in (b"c", b"(") and b"\n" in head


def _walk_all(
    stream: BinaryIO,
    member: str,
    seen: _Seen,
    *,
    start: int,
    certain: bool = True,
    most: int = 1000,
) -> None:
    """Walk pickle after pickle; where it may be no pickle at all, only what executes counts."""
    for walked in _walks(stream, start, most):
        if not certain and not (walked.executes and looks_like_names(walked)):
            return
        rule = "code-execution" if certain or not member else "hidden-pickle"
        before = len(seen.findings)
        for suspicion in suspicions(walked):
            message = f"the pickle {suspicion.how} {suspicion.name}"
            seen.add(rule, "critical", message, member, start + suspicion.offset)
        if walked.broken and certain:
            where = f"member {member!r}" if member else "the pickle"
            seen.refuse(f"{where} is {walked.broken}")
        seen.foreign += foreign_classes(walked)
        if len(seen.findings) == before and walked.globals:
            stream.seek(start)
            _second_opinion(stream.read(min(walked.end - start, _MOST_PICKLE)), member, seen)
        start = walked.end


def _walks(stream: BinaryIO, start: int, most: int) -> Iterator[Walk]:
    size = stream.seek(0, 2)
    for count in range(most):
        if start >= size:
            return
        stream.seek(start)
        walked = walk(stream)
        # What follows the last pickle of a file need not be one.
        if count and walked.broken and not walked.globals:
            return
        yield walked
        if walked.broken:
            return
        start = walked.end


def _second_opinion(pickle: bytes, member: str, seen: _Seen) -> None:
    """Ask picklescan, which keeps a list of known attacks, about a pickle that we let through."""
    from picklescan import scanner

    logging.getLogger("picklescan").setLevel(logging.CRITICAL)
    result = scanner.scan_pickle_bytes(io.BytesIO(pickle), member, multiple_pickles=False)
    for found in result.globals:
        if found.safety == scanner.SafetyLevel.Dangerous:
            name = f"{found.module}.{found.name}"
            seen.add(
                "code-execution", "critical", f"picklescan calls {name} an attack", member, None
            )
