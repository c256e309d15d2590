"""Static inspection: the kind of file, its digest, and what it would do if it were loaded.

Nothing is parsed by torch, nothing is imported, nothing runs. Unparsed is never clean.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from gatekeeper.candidate.kinds import UNREADABLE
from gatekeeper.candidate.look import Seen, look
from gatekeeper.errors import CandidateError
from gatekeeper.records import Artifact, Finding


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
    seen = Seen()
    kind = look(stream, seen)
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
