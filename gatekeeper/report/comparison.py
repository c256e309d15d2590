"""What changed between two records, in words."""

from __future__ import annotations

from collections.abc import Iterator

from gatekeeper.foreign_text import inert
from gatekeeper.records import GateRecord
from gatekeeper.report.wording import LABELS, measured


def compare(old: GateRecord, new: GateRecord) -> str:
    """Tell every difference in verdict, digests, measures and findings."""
    return "\n".join(inert(line) for line in _lines(old, new)) or "Nothing changed."


def _lines(old: GateRecord, new: GateRecord) -> Iterator[str]:
    pairs = {
        "decision": (old.verdict.decision, new.verdict.decision),
        "candidate": (old.candidate.sha256, new.candidate.sha256),
        "policy": (old.policy.sha256, new.policy.sha256),
        "data": (old.data and old.data.sha256, new.data and new.data.sha256),
        "tool": (old.tool.version, new.tool.version),
        "seed": (old.seed, new.seed),
    }
    for name, (before, after) in pairs.items():
        if before != after:
            yield f"{name}: {before} -> {after}"
    for subject in ("before", "after"):
        first = getattr(old.verification, subject, None) or {}
        second = getattr(new.verification, subject, None) or {}
        for name, label in LABELS.items():
            values = measured(first.get(name)), measured(second.get(name))
            if values[0] != values[1]:
                yield f"{label} ({'candidate' if subject == 'before' else 'purified'}): " + (
                    " -> ".join(values)
                )
    had, has = ({(f.rule_id, f.message) for f in record.findings} for record in (old, new))
    yield from (f"gone: {rule}: {message}" for rule, message in sorted(had - has))
    yield from (f"new: {rule}: {message}" for rule, message in sorted(has - had))
