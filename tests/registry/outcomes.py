"""Outcomes to publish."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gatekeeper.records import Decision
from gatekeeper.registry import Outcome


def outcome(decision: Decision, *, hardened: Path | None = None, **other: Any) -> Outcome:
    facts = {
        "accepted": decision in {"pass", "hardened"},
        "artifact_sha256": "a" * 64,
        "policy_sha256": "b" * 64,
        "report": "file:///reports/report.html",
        "judged_at": "2026-11-22T00:00:00Z",
    }
    return Outcome(decision=decision, hardened=hardened, **{**facts, **other})
