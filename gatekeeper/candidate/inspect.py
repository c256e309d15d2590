"""Static inspection: the kind of file, its digest, and what it would do if it were loaded.

The digest is taken here; a quarantine child looks at the bytes meanwhile. Nothing is parsed by
torch, nothing is imported, nothing runs. Unparsed is never clean.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast, get_args

from gatekeeper.candidate.duties import LOOK
from gatekeeper.candidate.kinds import UNREADABLE
from gatekeeper.candidate.quarantine import Budget, Quarantine, QuarantineError
from gatekeeper.errors import CandidateError, RunDirectoryError
from gatekeeper.records import Artifact, Finding, Severity
from gatekeeper.rules import RULES

_MACHINE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOSPC}
_SEVERITIES = get_args(Severity)
_TOLD = ("rule_id", "severity", "message", "member", "offset")  # by a child, of a finding
_LONGEST = 4000  # characters of a text that a child may tell
_PIECE = 1 << 18  # bytes: they stay in the processor's cache


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What was seen; `unreadable` says why the file cannot be accepted, "" where it can be."""

    artifact: Artifact
    findings: tuple[Finding, ...]
    unreadable: str = ""
    hint: str = ""
    members: int = 0
    protections: tuple[str, ...] = ()  # of the child that looked


class Inspector:
    """Inspects one file after another through one child; a new one where the old one ended.

    Raises:
        RunDirectoryError: the machine has no room for another process.
    """

    def __init__(self, *, accept_weak: bool = False) -> None:
        """Start no child before there is a file to look at."""
        self._accept_weak = accept_weak
        self._child: Quarantine | None = None

    def __enter__(self) -> Inspector:
        """Give it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        """End the child."""
        if self._child is not None:
            self._child.close()

    def start(self) -> Quarantine:
        """Give a child that is ready to look.

        Raises:
            QuarantineError: it is confined by too little, or ended at once.
        """
        if self._child is not None and self._child.ended:
            self._child.close()
            self._child = None
        if self._child is None:
            self._child = Quarantine(LOOK, accept_weak=self._accept_weak)
        return self._child

    def inspect(self, path: Path) -> Inspection:
        """Inspect the file at `path`, opened once.

        Raises:
            CandidateError: no regular file, it cannot be opened or read, or it changed meanwhile.
        """
        with _open(path) as stream:
            try:
                before = _state(stream)
                inspection = self.inspect_stream(stream, str(path))
                if _state(stream) != before:
                    inspection = _changed(inspection)
            except OSError as error:
                raise _unread(path, error) from None
        return inspection

    def inspect_stream(
        self, stream: BinaryIO, path: str, *, budget: Budget | None = None
    ) -> Inspection:
        """Inspect an open regular file from its beginning, within `budget` if it is given.

        Raises:
            CandidateError: the file cannot be read, though it opened.
            RunDirectoryError: the machine failed, such as by having no descriptor left.
        """
        try:
            return self._inspection(stream, path, budget)
        except OSError as error:
            # It may still answer, and must not be taken for the answer about the next file.
            self.__exit__(None, None, None)
            if error.errno not in _MACHINE:
                raise _unread(path, error) from None
            message = f"the machine failed while {path} was inspected: {error.strerror or error}"
            raise RunDirectoryError(message) from None

    def _inspection(self, stream: BinaryIO, path: str, budget: Budget | None) -> Inspection:
        size = stream.seek(0, 2)
        protections: tuple[str, ...] = ()
        digest = ""
        try:
            child = self.start()
            protections = child.protections
            child.send({}, stream, budget=budget)
            digest = _sha256(stream.fileno())  # while the child looks
            seen = _checked(child.answer(), protections)
        except QuarantineError as error:
            protections = protections or error.protections
            # A finding outranks the way in which the rest of the file ended the look.
            kept = _kept(self._child.found if self._child else [])
            seen = _Seen(kind="unreadable", findings=kept, unreadable=str(error), hint=error.hint)
        digest = digest or _sha256(stream.fileno())
        if not seen.unreadable and seen.kind in UNREADABLE:
            reason, hint = UNREADABLE[seen.kind]
            seen = replace(seen, unreadable=reason, hint=hint)
        return Inspection(
            artifact=Artifact(path=path, kind=seen.kind, sha256=digest, bytes=size),
            findings=seen.findings,
            unreadable=seen.unreadable,
            hint=seen.hint,
            members=seen.members,
            protections=protections,
        )


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What the child says it saw."""

    kind: str
    findings: tuple[Finding, ...] = ()
    unreadable: str = ""
    hint: str = ""
    members: int = 0


def _checked(answer: dict[str, Any], protections: tuple[str, ...]) -> _Seen:
    """Take nothing from a child's answer that an honest one could not say."""
    try:
        findings = tuple(map(_finding, answer["findings"]))
        seen = _Seen(**{**answer, "findings": findings})
        honest = all(map(_is_honest, findings)) and type(seen.members) is int
        honest &= all(map(_is_text, (seen.kind, seen.unreadable, seen.hint)))
    except (KeyError, TypeError):
        honest = False
    if not honest:
        message = "the quarantine's answer is damaged"
        raise QuarantineError(message, protections=protections)
    return seen


def _kept(found: list[Any]) -> tuple[Finding, ...]:
    """Give what a child found before it ended; nothing where it is not what an honest one tells."""
    try:
        findings = tuple(map(_finding, found))
    except (KeyError, TypeError):
        return ()
    return findings if all(map(_is_honest, findings)) else ()


def _finding(told: Any) -> Finding:
    return Finding(screen="inspect", **{name: told[name] for name in _TOLD})


def _is_honest(finding: Finding) -> bool:
    return (
        finding.rule_id in RULES
        and finding.severity in _SEVERITIES
        and _is_text(finding.message)
        and _is_text(finding.member)
        and type(finding.offset) in (int, type(None))
    )


def _is_text(text: object) -> bool:
    return isinstance(text, str) and len(text) <= _LONGEST


def inspect(path: Path, *, accept_weak: bool = False) -> Inspection:
    """Inspect one file through a child of its own; raises as `Inspector.inspect` does."""
    with Inspector(accept_weak=accept_weak) as inspector:
        return inspector.inspect(path)


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


def _changed(inspection: Inspection) -> Inspection:
    """Keep what was found, and nothing else.

    Raises:
        CandidateError: nothing was found.
    """
    message = f"{inspection.artifact.path} changed while it was inspected"
    hint = "Inspect a copy that nobody writes to."
    if not inspection.findings:
        raise CandidateError(message, hint=hint)
    return replace(inspection, unreadable=message, hint=hint)


def _unread(path: Path | str, error: OSError) -> CandidateError:
    message = f"cannot read {path}: {error.strerror or error}"
    return CandidateError(message, hint="Check the path, its permissions and the disk.")


def _state(stream: BinaryIO) -> tuple[int, int, int]:
    """What changes when anyone writes to the file."""
    known = os.fstat(stream.fileno())
    return known.st_size, known.st_mtime_ns, known.st_ctime_ns


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
