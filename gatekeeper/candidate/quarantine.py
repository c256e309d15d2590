"""Quarantine: foreign bytes are looked at and parsed in a child process that can only answer.

A child looks at files, or parses one, or lets onnxruntime answer to clean images about one.

What it may do: read the file whose descriptor it is sent (of small files that are only looked at,
a few at once; onnxruntime the images, too), write the one that goes with it, send lines of JSON
back; take 512 MiB beyond what it begins with and the file mapped twice (a parser three times); and
5 seconds, which all children of one scan share, and one for each 50 MB of the file (`budget.py`).

What it may not: open any file or folder (Landlock, seccomp), reach any network (its own network
namespace, seccomp, TCP also by Landlock), start a program, a process or a thread (seccomp), signal
others (seccomp, or Landlock from Linux 6.12), gain rights, keep a descriptor of ours, see our
environment, or write more than four times what it reads and 16 MiB. It may still ask for size and
times of a file whose name it knows. It needs no torch. What it hands back is checked by us again:
its JSON, and the header of its safetensors with the place of every tensor (`extraction.py`).

Where a kernel refuses one of these, the child says so and the record names what was in force.
Below `lacking` nothing foreign is sent to it, unless the policy accepts that.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from gatekeeper.candidate.budget import Budget
from gatekeeper.candidate.duties import ENVIRONMENT, MOST_AT_ONCE
from gatekeeper.candidate.refusals import QuarantineError, WeakQuarantineError, refuse
from gatekeeper.errors import RunDirectoryError

_CHILD = Path(__file__).with_name("child.py")
_START = 60.0  # seconds until a child is ready
_MAPPED = 2  # times that a file may stand in the address space of a child that looks
_STEP = 1 << 20  # bytes
_ANSWER = 16 << 20  # bytes: a graph of many nodes is long
_NEEDED = ("own process", "no inherited descriptors", "resource limits")
_SECCOMP = "no system call beyond its work (seccomp)"
# One of each. Landlock is none of the second: it knows TCP alone, and that only from Linux 6.7.
_ONE_OF = (
    ("no file can be opened (Landlock)", _SECCOMP),
    ("no network (namespace)", _SECCOMP),
)


def lacking(protections: Sequence[str]) -> str:
    """Name what is missing of the least that a child must be confined by; "" where nothing is."""
    missing = [name for name in _NEEDED if name not in protections]
    missing += [" or ".join(names) for names in _ONE_OF if not set(names) & set(protections)]
    return ", ".join(missing)


class Quarantine:
    """One confined child, for one file to parse (`work` is its kind) or many to look at.

    Raises:
        WeakQuarantineError: it is confined by less than the least, and that is not accepted.
        RunDirectoryError: the machine has no room for another process.
    """

    def __init__(self, work: str, *, size: int = 0, accept_weak: bool = False) -> None:
        """Start the child; `size` in bytes is what its limits are measured by."""
        self._ours, self._process = _started(work, size)
        self._left = b""
        self._due: deque[tuple[Budget, int]] = deque()  # of files that no answer came about
        self._until = 0.0
        self._capped = 0  # bytes of address space that a looker has now
        self.found: list[Any] = []  # told of a file before its answer, unchecked
        try:
            hello = self._answer(time.monotonic() + _START)
            self.protections = tuple(str(line) for line in hello.get("protections", []))
            self._address_space = int(hello.get("address_space", 0))
            if not accept_weak and (missing := lacking(self.protections)):
                message = f"the quarantine is too weak here: it lacks {missing}"
                raise WeakQuarantineError(message, protections=self.protections)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Quarantine:
        """Give the child."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        """End it."""
        self.close()

    def ask(
        self, given: Mapping[str, Any], *files: BinaryIO, budget: Budget | None = None
    ) -> dict[str, Any]:
        """Send a question and wait for its answer; arguments and errors as of the two."""
        self.send(given, *files, budget=budget)
        return self.answer()

    def send(
        self, given: Mapping[str, Any], *files: BinaryIO, budget: Budget | None = None
    ) -> None:
        """Send descriptors of `files`, the first to be read, the second written, the third read.

        Args:
            given: the question.
            files: open files.
            budget: what is left of the candidate's time; without it, a whole one.

        Raises:
            QuarantineError: the child takes no question any more.
        """
        with _sources(files[:1]) as sources:
            self._due = deque([(budget or Budget(), _size(sources[0]))])
            self._pass_on(given, [*sources, *(file.fileno() for file in files[1:])])

    def show(self, files: Sequence[BinaryIO], *, budget: Budget | None = None) -> None:
        """Send small files, or one large one, to look at; `answer` tells of one after another.

        Args:
            files: at most `FILES_AT_ONCE` open files.
            budget: what is left of a candidate's time; without it, a whole one for each.

        Raises:
            QuarantineError: the child takes no question any more.
        """
        with _sources(files) as sources:
            self._due = deque((budget or Budget(), _size(one)) for one in sources)
            self._pass_on({}, sources)

    def _pass_on(self, given: Mapping[str, Any], descriptors: list[int]) -> None:
        self._cap(max(size for _, size in self._due))
        self._begin()
        try:
            socket.send_fds(self._ours, [json.dumps(given).encode()], descriptors)
        except OSError as error:
            self.close()
            message = f"the quarantine takes no question ({error.strerror})"
            raise QuarantineError(message, protections=self.protections) from None

    def _begin(self) -> None:
        """From now on the child has time for what is due next."""
        if self._due:
            budget, size = self._due[0]
            self._until = budget.begin(size)

    def _cap(self, size: int) -> None:
        """Cap the address space of a child that looks at many files: it maps them, one by one.

        It cannot raise its own limits, so the parent does. Where the host forbids that, there is
        still the child's limit on the memory that is its own.
        """
        # In steps, so that small files one after another need no call.
        most = self._address_space + _MAPPED * (size + _STEP - size % _STEP)
        if not self._address_space or most == self._capped:
            return
        self._capped = most
        with contextlib.suppress(OSError):
            hard = resource.prlimit(self._process.pid, resource.RLIMIT_AS)[1]
            if hard != resource.RLIM_INFINITY:
                most = min(most, hard)
            resource.prlimit(self._process.pid, resource.RLIMIT_AS, (most, hard))

    def answer(self) -> dict[str, Any]:
        """Wait for the answer to what was sent, or about the next of the files that were shown.

        Raises:
            BlockedError: a tensor does not fit its storage, or a graph reaches out of its file.
            QuarantineError: it cannot be parsed, within bounds of time and memory.
            RunDirectoryError: the machine failed (disk full, no more processes), not the file.
        """
        self.found.clear()
        try:
            answer = self._answer(self._until)
            while "found" in answer and len(self.found) < MOST_AT_ONCE:
                self.found.append(answer["found"])
                answer = self._answer(self._until)
        finally:
            self._due.popleft()[0].end()
            self._begin()
        refuse(answer, self.protections)
        return answer

    def close(self) -> None:
        """End the child, whatever it does."""
        self._ours.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    @property
    def ended(self) -> bool:
        """Whether it can answer no more."""
        return self._process.poll() is not None

    def _answer(self, until: float) -> dict[str, Any]:
        """Read one line; whatever else the child does is a failure to parse."""
        told = getattr(self, "protections", ())
        while b"\n" not in self._left:
            left = until - time.monotonic()
            if (left <= 0 and not self._ready()) or len(self._left) > _ANSWER:
                self.close()
                message = "parsing the file took too long and was stopped"
                raise QuarantineError(message, protections=told)
            self._ours.settimeout(max(left, 0.001))
            piece = b""
            with contextlib.suppress(ConnectionError):
                try:
                    piece = self._ours.recv(65_536)
                except TimeoutError:
                    continue
            if not piece:
                raise QuarantineError(self._last_words(), protections=told)
            self._left += piece
        line, _, self._left = self._left.partition(b"\n")
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            self.close()
            message = "the quarantine's answer is damaged"
            raise QuarantineError(message, protections=told)
        return answer

    def _ready(self) -> bool:
        """Whether something lies there to be read, though the parent came late for it."""
        return bool(select.select([self._ours], [], [], 0)[0])

    def _last_words(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        code = self._process.poll()
        self.close()
        if code is None:
            return "the quarantine gave no answer"
        reason = f"signal {-code}" if code < 0 else f"exit {code}"
        return f"parsing the file ended the quarantine ({reason})"


def _started(work: str, size: int) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Start a child, and give our end of its socket.

    Raises:
        RunDirectoryError: the machine has no room for another process.
    """
    with contextlib.ExitStack() as opened:
        try:
            ours, theirs = map(opened.enter_context, socket.socketpair())
            words = [str(theirs.fileno()), work, str(size)]
            process = subprocess.Popen(
                [sys.executable, "-I", "-B", str(_CHILD), *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=ENVIRONMENT,
                pass_fds=(theirs.fileno(),),
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            message = f"the quarantine could not be started: {error.strerror}"
            raise RunDirectoryError(message, hint="Mend the machine, then add --resume.") from error
        theirs.close()
        opened.pop_all()
    return ours, process


@contextlib.contextmanager
def _sources(files: Sequence[BinaryIO]) -> Iterator[list[int]]:
    """Open descriptors of their own: read-only, and with a position that is not ours."""
    with contextlib.ExitStack() as opened:
        sources: list[int] = []
        for file in files:
            sources.append(os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY))
            opened.callback(os.close, sources[-1])
        yield sources


def _size(descriptor: int) -> int:
    """Bytes of an open file."""
    return os.fstat(descriptor).st_size
