"""The summary for a terminal: verdict first, then what changed, then what was not checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gatekeeper.foreign_text import inert
from gatekeeper.records import GateRecord, Measure
from gatekeeper.report.wording import (
    AFTERMATH_LABELS,
    LABELS,
    MEANING,
    assessment_of,
    in_short,
    measured,
    next_step,
    place,
)

_SHOWN = 8


def text(record: GateRecord) -> str:
    """Draw `record` as plain text without control characters or workflow commands."""
    return "\n".join(inert(line) for line in _lines(record))


def _lines(record: GateRecord) -> Iterator[str]:
    verdict = record.verdict
    yield f"{verdict.decision.upper()}: {MEANING[verdict.decision]}"
    shown = verdict.reasons[:_SHOWN]
    if len(verdict.reasons) > _SHOWN and shown[-1].endswith(":"):
        shown = shown[:-1]  # a heading with nothing below it
    yield from (f"  - {reason}" for reason in shown)
    if len(verdict.reasons) > len(shown):
        yield f"  - and {len(verdict.reasons) - len(shown)} more in the report"
    yield f"Next: {next_step(record)}"
    candidate = record.candidate
    yield f"Candidate: {candidate.path} ({candidate.kind}, sha256 {candidate.sha256})"
    if record.assessment is not None:
        yield f"Screens together: {in_short(record.assessment)}"
    if (again := assessment_of(record, "purified")) is not None:
        yield f"  of the purified network: {in_short(again)}"
    yield from _measures(record)
    found = [finding for finding in record.findings if not finding.waived]
    yield f"Findings: {len(found)}" + (" (the weightiest first)" if found else "")
    order = ("critical", "high", "medium", "low", "info")
    for finding in sorted(found, key=lambda one: order.index(one.severity))[:_SHOWN]:
        where = f" [{place(finding)}]" if place(finding) else ""
        yield f"  {finding.severity:8} {finding.rule_id}: {finding.message}{where}"
    if len(found) > _SHOWN:
        yield f"  and {len(found) - _SHOWN} more in the report"
    if record.skipped:
        yield "Not checked:"
        yield from (f"  {skipped.reason}" for skipped in record.skipped)
    if onnx := record.outputs.onnx:
        yield f"Artifact: {onnx.path} ({onnx.weights} weights, sha256 {onnx.sha256})"


def _measures(record: GateRecord) -> Iterator[str]:
    if record.verification is None:
        return
    after = record.verification.after or {}
    yield f"{'':36}{'candidate':>28}{'purified':>28}"
    for name, label in LABELS.items():
        if name in record.verification.before or name in after:
            before = measured(record.verification.before.get(name))
            yield f"  {label:34}{before:>28}{measured(after.get(name)) if after else '–':>28}"
    yield from _beside(record.verification.before, after)


def _beside(before: Mapping[str, Measure], after: Mapping[str, Measure]) -> Iterator[str]:
    names = [name for name in AFTERMATH_LABELS if name in before or name in after]
    if names:
        yield f"Beside the policy, {'candidate, then purified' if after else 'of the candidate'}:"
    sides = (before, after) if after else (before,)
    for name in names:
        told = "; ".join(measured(side.get(name)) for side in sides)
        yield f"  {AFTERMATH_LABELS[name]}: {told}"
