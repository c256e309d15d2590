"""One run's order: plain strings and numbers, so that it travels to a worker as JSON."""

from __future__ import annotations

from dataclasses import dataclass

METHODS = (
    "auto",
    "ft-sam",
    "ft-sam-restore",
    "awm",
    "awm-taught",
    "super-ft",
    "fst",
    "unlearn",
    "ft",
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What was asked for; the defaults are those of the command line."""

    model: str
    out: str
    data: str | None = None
    verify_data: str | None = None
    suspects: str | None = None  # images that are believed to carry a trigger
    card: str | None = None
    card_trusted: bool = True  # False where it may have come with the candidate
    policy: str = "default"
    calibration: str | None = None  # a file; the one that ships where left out
    method: str | None = None  # overrides the policy's
    device: str = "auto"
    seed: int = 0
