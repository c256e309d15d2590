"""Static inspection: the kind of file, its digest, and what it would do if it were loaded.

Nothing is parsed by torch, nothing is imported, nothing runs. Unparsed is never clean.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from gatekeeper.candidate.kinds import UNREADABLE
from gatekeeper.candidate.look import Seen, look
from gatekeeper.errors import CandidateError, RunDirectoryError
from gatekeeper.records import Artifact, Finding

_PIECE = 1 << 18  # bytes: they stay in the processor's cache


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
        CandidateError: no regular file, or it cannot be opened or read.
    """
    with _open(path) as stream:
        try:
            return inspect_stream(stream, str(path))
        except OSError as error:
            raise _unread(path, error) from None


def private_copy(path: Path, directory: Path) -> BinaryIO:
    """Copy the file into an unlinked one in `directory`: what is hashed is what is parsed.

    Raises:
        CandidateError: no regular file, or it cannot be read.
        RunDirectoryError: there is no room for the copy.
    """
    with _open(path) as stream:
        try:
            return _copied(_pieces(stream, path), directory)
        except OSError as error:
            message = f"no private copy of {path} in {directory}: {error.strerror or error}"
            raise RunDirectoryError(message) from None


def _copied(pieces: Iterator[bytes], directory: Path) -> BinaryIO:
    """Write `pieces` into an unlinked file, which the caller closes."""
    copy = tempfile.TemporaryFile(dir=directory, buffering=1 << 20)  # noqa: SIM115 - lent out
    try:
        for piece in pieces:
            copy.write(piece)
        copy.seek(0)
    except BaseException:
        # What could not be written cannot be flushed either.
        with contextlib.suppress(OSError):
            copy.close()
        raise
    return cast(BinaryIO, copy)


def _pieces(stream: BinaryIO, path: Path) -> Iterator[bytes]:
    try:
        while piece := stream.read(_PIECE):
            yield piece
    except OSError as error:
        raise _unread(path, error) from None


def _unread(path: Path, error: OSError) -> CandidateError:
    message = f"cannot read {path}: {error.strerror or error}"
    return CandidateError(message, hint="Check the path, its permissions and the disk.")


def inspect_stream(stream: BinaryIO, path: str) -> Inspection:
    """Inspect an open regular file from its beginning."""
    size = stream.seek(0, 2)
    seen = Seen()
    # Hashing leaves the interpreter to the look, which takes about as long.
    with ThreadPoolExecutor(1) as aside:
        hashed = aside.submit(_sha256, stream.fileno())
        kind = look(stream, seen)
        digest = hashed.result()
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


def _sha256(descriptor: int) -> str:
    """Digest a file without moving the position of those who read it meanwhile."""
    digest, place = hashlib.sha256(), 0
    while piece := os.pread(descriptor, _PIECE, place):
        digest.update(piece)
        place += len(piece)
    return digest.hexdigest()


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
