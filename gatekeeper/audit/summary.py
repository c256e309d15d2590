"""The sum of one audit, as `audit.json` holds it and the audit page draws it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gatekeeper.records import Decision

SCHEMA_VERSION = "1"

# Against the audit before: its first sight, other bytes, another verdict on the same bytes,
# none of these, or not in the registry any more.
Change = Literal["new", "content", "verdict", "same", "gone"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One version of a model in one audit."""

    model: str
    version: str
    address: str
    file: str  # the weights file that was judged, below the version's folder; empty: none
    decision: Decision
    accepted: bool
    reason: str  # one line: why, and where nothing could be judged what to do next
    findings: int
    sha256: str  # of the file; empty where it was never had
    bytes: int | None
    policy: str
    judged_at: str  # ISO 8601, UTC; empty where it was never judged
    report: str  # path of report.html beside the page, with forward slashes; empty: none
    change: Change
    before: Decision | None  # the verdict of the audit before, where there was one
    since: str  # when an audit first gave this verdict on these bytes, ISO 8601, UTC
    kept: bool  # judged in an earlier audit, under the same key


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many of the versions that are there ended how."""

    passed: int
    hardened: int
    rejected: int
    undecided: int


@dataclass(frozen=True, kw_only=True)
class Trend:
    """An audit, now or earlier."""

    audit: int
    finished_at: str
    counts: Counts


@dataclass(frozen=True, kw_only=True)
class Audit:
    """One audit of a registry: what the page shows is a pure function of it."""

    schema_version: str
    tool: str  # version of Gatekeeper
    number: int  # of the audit in its ledger
    registry: str
    started_at: str
    finished_at: str
    exit_code: int
    counts: Counts
    judged: int  # scans that this audit ran
    troubles: tuple[str, ...]  # what kept the audit from being whole, such as a broken listing
    trend: tuple[Trend, ...]  # oldest first, this audit last
    rows: tuple[Row, ...]
