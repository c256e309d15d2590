"""What the ledger knows: verdicts by key, versions as last seen, and how they came to be so."""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.records import Decision


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """One verdict, and the digest of all that decided it."""

    key: str
    artifact_sha256: str
    decision: Decision
    accepted: bool
    reason: str
    findings: int
    bytes: int | None
    policy: str
    policy_sha256: str
    run: str  # the run's folder, from the audit's own, with forward slashes; empty: none
    judged_at: str  # ISO 8601, UTC
    seconds: float
    final: bool  # False where a step failed for what may have been the machine's reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A version as an audit left it."""

    model: str
    version: str
    fingerprint: str = ""
    file: str = ""
    artifact_sha256: str = ""
    card_sha256: str = ""
    key: str = ""
    blocked: str = ""  # why the version is rejected whatever its weights are: another file of it
    decision: Decision = "undecided"
    accepted: bool = False
    reason: str = ""
    since: str = ""
    published: str = ""  # key of the verdict that the registry was told last
    gone: bool = False


@dataclass(frozen=True, kw_only=True)
class Past:
    """One line of a version's history."""

    registry: str
    model: str
    version: str
    audit: int
    at: str
    change: str
    artifact_sha256: str
    decision: Decision
    accepted: bool
    reason: str
    policy: str
    findings: int | None
    run: str


@dataclass(frozen=True, kw_only=True)
class Finished:
    """An audit that came to its end."""

    number: int
    finished_at: str
    passed: int
    hardened: int
    rejected: int
    undecided: int
