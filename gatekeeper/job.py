"""One run's order: plain strings and numbers, so that it travels to a worker as JSON."""

from __future__ import annotations

from dataclasses import dataclass

METHODS = ("auto", "ft-sam", "ft")


@dataclass(frozen=True, kw_only=True)
class Job:
    """What was asked for; the defaults are those of the command line."""

    model: str
    out: str
    data: str | None = None
    verify_data: str | None = None
    card: str | None = None  # given by the operator, therefore trusted
    policy: str = "default"
    method: str | None = None  # overrides the policy's
    device: str = "auto"
    seed: int = 0
