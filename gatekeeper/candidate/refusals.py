"""What a quarantine child could not do, or was not let do, as errors."""

from __future__ import annotations

from typing import Any

from gatekeeper.errors import CandidateError, RunDirectoryError


class QuarantineError(CandidateError):
    """The file was not parsed; `protections` were in force while the child tried."""

    def __init__(
        self, message: str, *, hint: str | None = None, protections: tuple[str, ...] = ()
    ) -> None:
        """Keep what the child said of itself; nothing where it never answered."""
        super().__init__(message, hint=hint)
        self.protections = protections


class BlockedError(QuarantineError):
    """The file holds what no honest file has: a finding by `rule`, not a mere doubt."""

    hint = "Do not load this file anywhere."
    rule = "malformed-tensor"


class MalformedTensorError(BlockedError):
    """The file describes tensors that no honest file has."""


class ForeignOperatorError(BlockedError):
    """An operator of the graph runs code."""

    rule = "foreign-operator"


class ExternalDataError(BlockedError):
    """A tensor of the graph points out of the file's folder."""

    rule = "external-data"


_BLOCKED: dict[str, type[BlockedError]] = {
    kind.rule: kind for kind in (ForeignOperatorError, ExternalDataError)
}


class WeakQuarantineError(QuarantineError):
    """The kernel refuses what keeps the child from harm: nothing foreign was sent to it."""

    hint = (
        "Run the gate where seccomp works (libseccomp2), or Landlock (Linux 5.13 or later) and "
        "user namespaces, or accept the risk with accept_weak_quarantine: true in your policy."
    )


def refuse(answer: dict[str, Any], protections: tuple[str, ...]) -> None:
    """Raise what the child could not do."""
    if problem := answer.get("environment"):
        message = f"the machine failed while the file was read: {problem}"
        raise RunDirectoryError(message)
    if problem := answer.get("hostile"):
        message = f"the file reaches out of itself: {problem}"
        raise _BLOCKED.get(str(answer.get("rule")), BlockedError)(message, protections=protections)
    if problem := answer.get("malformed"):
        message = f"the file is malformed: {problem}"
        raise MalformedTensorError(message, protections=protections)
    if problem := answer.get("unsupported"):
        message = f"the file cannot be read: {problem}"
        raise QuarantineError(message, protections=protections)
