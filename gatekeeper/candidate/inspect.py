"""Static inspection: the kind of file, its digest, and what it would do if it were loaded.

The digest is taken here; a quarantine child looks at the bytes meanwhile. Nothing is parsed by
torch, nothing is imported, nothing runs. Unparsed is never clean.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from gatekeeper.candidate import sources
from gatekeeper.candidate.answers import Told, honest, kept
from gatekeeper.candidate.budget import Budget
from gatekeeper.candidate.duties import FILES_AT_ONCE, LOOK
from gatekeeper.candidate.kinds import UNREADABLE
from gatekeeper.candidate.quarantine import Quarantine
from gatekeeper.candidate.refusals import QuarantineError
from gatekeeper.errors import CandidateError, GatekeeperError, RunDirectoryError
from gatekeeper.records import Artifact, Finding

_MACHINE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOSPC}
_SMALL = 1 << 20  # bytes of a file that a child is shown with others


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
            RunDirectoryError: the machine failed, such as by having no descriptor left.
        """
        return _or_raised(self.inspect_each([path])[0])

    def inspect_each(self, paths: Sequence[Path]) -> list[Inspection | GatekeeperError]:
        """Inspect a few files, or give what `inspect` would raise; in their order.

        The child is shown small ones together: waiting for each would take longer than the look.
        """
        told: dict[Path, Inspection | GatekeeperError] = {}
        with contextlib.ExitStack() as opened:
            streams: dict[Path, BinaryIO] = {}
            for path in paths:
                try:
                    streams[path] = opened.enter_context(sources.open_regular(path))
                except CandidateError as error:
                    told[path] = error
            before = {path: sources.state(stream) for path, stream in streams.items()}
            small = [path for path in streams if before[path][0] <= _SMALL]
            together = [
                small[at : at + FILES_AT_ONCE] for at in range(0, len(small), FILES_AT_ONCE)
            ]
            alone = [[path] for path in streams if before[path][0] > _SMALL]
            for some in together + alone:
                told |= self._look_at({path: streams[path] for path in some})
            for path, stream in streams.items():
                if sources.state(stream) != before[path]:
                    told[path] = _changed(told[path], path)
        return [told[path] for path in paths]

    def inspect_stream(
        self, stream: BinaryIO, path: Path, *, budget: Budget | None = None
    ) -> Inspection:
        """Inspect an open regular file from its beginning, within `budget` if it is given.

        Raises:
            CandidateError: the file cannot be read, though it opened.
            RunDirectoryError: the machine failed, such as by having no descriptor left.
        """
        return _or_raised(self._look_at({path: stream}, budget)[path])

    def _look_at(
        self, streams: Mapping[Path, BinaryIO], budget: Budget | None = None
    ) -> dict[Path, Inspection | GatekeeperError]:
        """Show open files to the child; where it ends over one, a new one is shown the rest."""
        told: dict[Path, Inspection | GatekeeperError] = {}
        while left := [path for path in streams if path not in told]:
            shown = self._shown({path: streams[path] for path in left}, budget)
            for path in left:
                told[path] = self._told(streams[path], path, shown)
                if isinstance(shown, Quarantine) and shown.ended:
                    break
        return told

    def _shown(
        self, streams: Mapping[Path, BinaryIO], budget: Budget | None
    ) -> Quarantine | GatekeeperError:
        """Give the child that was shown them, or what stood in the way."""
        try:
            child = self.start()
            child.show(list(streams.values()), budget=budget)
        except (QuarantineError, RunDirectoryError) as error:
            return error
        except OSError as error:
            return _machine(next(iter(streams)), error)
        return child

    def _told(
        self, stream: BinaryIO, path: Path, shown: Quarantine | GatekeeperError
    ) -> Inspection | GatekeeperError:
        """Wait for what the child says of a file that it was shown."""
        try:
            return self._inspection(stream, path, shown)
        except RunDirectoryError as error:
            return error
        except OSError as error:
            # It may still answer, and must not be taken for the answer about the next file.
            self.__exit__(None, None, None)
            machines = error.errno in _MACHINE
            return _machine(path, error) if machines else sources.unread(path, error)

    def _inspection(
        self, stream: BinaryIO, path: Path, shown: Quarantine | GatekeeperError
    ) -> Inspection:
        digest = ""
        found: list[Any] = []
        try:
            if isinstance(shown, GatekeeperError):
                raise shown
            found, protections = shown.found, shown.protections
            digest = sources.sha256(stream.fileno())  # while the child looks
            answer = honest(shown.answer())
            if answer is None:
                shown.close()  # nor are its next answers to be believed
                message = "the quarantine's answer is damaged"
                raise QuarantineError(message, protections=protections)
            seen = answer
        except QuarantineError as error:
            protections = error.protections
            # A finding outranks the way in which the rest of the file ended the look.
            seen = Told(
                kind="unreadable", findings=kept(found), unreadable=str(error), hint=error.hint
            )
        digest = digest or sources.sha256(stream.fileno())
        if not seen.unreadable and seen.kind in UNREADABLE:
            reason, hint = UNREADABLE[seen.kind]
            seen = replace(seen, unreadable=reason, hint=hint)
        size = os.fstat(stream.fileno()).st_size
        return Inspection(
            artifact=Artifact(path=str(path), kind=seen.kind, sha256=digest, bytes=size),
            findings=seen.findings,
            unreadable=seen.unreadable,
            hint=seen.hint,
            members=seen.members,
            protections=protections,
        )


def inspect(path: Path, *, accept_weak: bool = False) -> Inspection:
    """Inspect one file through a child of its own; raises as `Inspector.inspect` does."""
    with Inspector(accept_weak=accept_weak) as inspector:
        return inspector.inspect(path)


def _changed(told: Inspection | GatekeeperError, path: Path) -> Inspection | GatekeeperError:
    """Keep what was found, and nothing else, of a file that changed meanwhile."""
    message = f"{path} changed while it was inspected"
    hint = "Inspect a copy that nobody writes to."
    if isinstance(told, Inspection) and told.findings:
        return replace(told, unreadable=message, hint=hint)
    return CandidateError(message, hint=hint)


def _machine(path: Path, error: OSError) -> RunDirectoryError:
    message = f"the machine failed while {path} was inspected: {error.strerror or error}"
    return RunDirectoryError(message)


def _or_raised(told: Inspection | GatekeeperError) -> Inspection:
    if isinstance(told, GatekeeperError):
        raise told
    return told
