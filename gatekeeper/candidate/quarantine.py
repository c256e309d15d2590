"""Quarantine: foreign bytes are parsed in a child process that can do nothing but answer.

The child needs no torch. It inherits two descriptors, the candidate and one output file, gives up
its rights (`confinement.py`), and hands back safetensors, which are checked again here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from gatekeeper.candidate import safetensors_file
from gatekeeper.candidate.structure import Layer, StructureError, read_structure
from gatekeeper.errors import CandidateError, RunDirectoryError

_CHILD = Path(__file__).with_name("child.py")
_SECONDS = 60.0
_BYTES_PER_SECOND = 50 << 20
_ANSWER = 4 << 20  # bytes: room for the structure of any network that torchvision has
READABLE = frozenset({"torch-zip", "torch-legacy", "npz", "safetensors"})


class QuarantineError(CandidateError):
    """The file was not parsed; `protections` were in force while the child tried."""

    def __init__(
        self, message: str, *, hint: str | None = None, protections: tuple[str, ...] = ()
    ) -> None:
        """Keep what the child said of itself; nothing where it never answered."""
        super().__init__(message, hint=hint)
        self.protections = protections


class MalformedTensorError(QuarantineError):
    """The file describes tensors that no honest file has; a finding, not a mere doubt."""

    hint = "Do not load this file anywhere."


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """Type and shape of every tensor, and the protections that were in force."""

    tensors: dict[str, tuple[str, tuple[int, ...]]]
    protections: tuple[str, ...]
    weights_key: str | None
    prefix: str
    structure: list[Layer] | None = None  # of a whole network that was pickled


def extract(
    stream: BinaryIO, kind: str, out: Path, *, weights_key: str | None = None
) -> Extraction:
    """Let the child parse `stream` and write its tensors to `out` as safetensors.

    Raises:
        MalformedTensorError: a tensor does not fit its storage.
        QuarantineError: it cannot be parsed, within bounds of time and memory.
        RunDirectoryError: the machine failed (disk full, no more processes), not the file.
    """
    if kind not in READABLE:
        message = f"a file of kind {kind} is not parsed"
        raise QuarantineError(message)
    with out.open("wb") as written:
        answer = _ask(stream, written, kind, weights_key)
    protections = tuple(str(line) for line in answer.get("protections", []))
    _refuse(answer, protections)
    try:
        with out.open("rb") as read:
            tensors = safetensors_file.check(read)
        told = answer.get("structure")
        structure = None if told is None else read_structure(told)
    except (safetensors_file.SafetensorsError, StructureError) as error:
        message = f"the quarantine's answer is damaged: {error}"
        raise QuarantineError(message, protections=protections) from None
    if not tensors:
        message = "the file holds no tensor"
        raise QuarantineError(message, protections=protections)
    return Extraction(
        tensors=tensors,
        protections=protections,
        weights_key=answer.get("key"),
        prefix=str(answer.get("prefix", "")),
        structure=structure,
    )


def _refuse(answer: dict[str, Any], protections: tuple[str, ...]) -> None:
    """Raise what the child could not do."""
    if problem := answer.get("environment"):
        message = f"the machine failed while the file was read: {problem}"
        raise RunDirectoryError(message)
    if problem := answer.get("malformed"):
        message = f"the file is malformed: {problem}"
        raise MalformedTensorError(message, protections=protections)
    if problem := answer.get("unsupported"):
        message = f"the file cannot be read: {problem}"
        raise QuarantineError(message, protections=protections)


def _ask(stream: BinaryIO, out: BinaryIO, kind: str, key: str | None) -> dict[str, Any]:
    """Run the child; whatever it does other than answer is a failure to parse."""
    size = os.fstat(stream.fileno()).st_size
    try:
        # A descriptor of its own: read-only, and with a position that is not ours.
        source = os.open(f"/proc/self/fd/{stream.fileno()}", os.O_RDONLY)
        try:
            words = [str(source), str(out.fileno()), kind, key or "", str(size)]
            done = subprocess.run(
                [sys.executable, "-I", "-B", str(_CHILD), *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                pass_fds=(source, out.fileno()),
                cwd="/",
                start_new_session=True,
                timeout=_SECONDS + size / _BYTES_PER_SECOND,
                check=False,
            )
        finally:
            os.close(source)
    except subprocess.TimeoutExpired:
        message = "parsing the file took too long and was stopped"
        raise QuarantineError(message) from None
    except OSError as error:
        message = f"the quarantine could not be started: {error.strerror}"
        raise RunDirectoryError(message, hint="Mend the machine, then add --resume.") from error
    return _answer(done)


def _answer(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    try:
        answer = json.loads(done.stdout[:_ANSWER])
    except (ValueError, RecursionError):
        reason = f"signal {-done.returncode}" if done.returncode < 0 else f"exit {done.returncode}"
        message = f"parsing the file ended the quarantine ({reason})"
        raise QuarantineError(message) from None
    if not isinstance(answer, dict) or done.returncode != 0:
        message = "the quarantine gave no answer"
        raise QuarantineError(message)
    return answer
