"""Candidate files as they are opened, hashed and copied: regular ones, and once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from gatekeeper.errors import CandidateError, RunDirectoryError

_PIECE = 1 << 18  # bytes: they stay in the processor's cache


def open_regular(path: Path) -> BinaryIO:
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


def private_copy(path: Path, directory: Path) -> BinaryIO:
    """Copy the file into an unlinked one in `directory`: what is hashed is what is parsed.

    Raises:
        CandidateError: no regular file, or it cannot be read.
        RunDirectoryError: there is no room for the copy.
    """
    with open_regular(path) as stream:
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
        raise unread(path, error) from None


def state(stream: BinaryIO) -> tuple[int, int, int]:
    """What changes when anyone writes to the file."""
    known = os.fstat(stream.fileno())
    return known.st_size, known.st_mtime_ns, known.st_ctime_ns


def sha256(descriptor: int) -> str:
    """Digest a file without moving the position of those who read it meanwhile."""
    digest, place = hashlib.sha256(), 0
    while piece := os.pread(descriptor, _PIECE, place):
        digest.update(piece)
        place += len(piece)
    return digest.hexdigest()


def unread(path: Path | str, error: OSError) -> CandidateError:
    """Say that a file cannot be read, though it opened."""
    message = f"cannot read {path}: {error.strerror or error}"
    return CandidateError(message, hint="Check the path, its permissions and the disk.")
