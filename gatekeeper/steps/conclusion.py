"""Reads the steps' files back into records, and holds them against the policy."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from gatekeeper.assessments import Assessment
from gatekeeper.records import (
    Finding,
    Measure,
    Parity,
    Skipped,
    Verification,
)
from gatekeeper.report.schema import from_dict
from gatekeeper.steps.workshop import Workshop
from gatekeeper.verdict import Judgement, judge
from gatekeeper.verification import agreement

ONNX_METRIC = "onnx_top1_agreement"


def judgement(work: Workshop) -> Judgement:
    """Judge with what the finished steps left; before the export its line is still open."""
    artifact = _read(work, "candidate.json", {})["artifact"]
    return judge(
        work.policy,
        artifact_sha256=artifact["sha256"],
        findings=findings(work),
        assessment=assessment(work),
        verification=verification(work),
        samples=len(work.data.verify) if work.data else 0,
        class_counts=_class_counts(work),
        skipped=skipped(work),
        errors=[error for _, error in _notes(work, "errors")],
        today=datetime.now(UTC).date(),
    )


def findings(work: Workshop) -> list[Finding]:
    """Everything that inspection and screens found."""
    found = [
        *_read(work, "candidate.json", {})["findings"],
        *_read(work, "findings.json", {"findings": []})["findings"],
    ]
    return [from_dict(Finding, item) for item in found]


def assessment(work: Workshop) -> Assessment | None:
    """What the screens together said; None where the policy asks for none that count."""
    found = _read(work, "findings.json", {}).get("assessment")
    return from_dict(Assessment, found) if found is not None else None


def verification(work: Workshop) -> Verification | None:
    """The measures, joined with the parity of whatever was exported."""
    content = _read(work, "verification.json", {"verification": None})["verification"]
    if content is None:
        return None
    measured = from_dict(Verification, content)
    exports = _read(work, "export.json", {})
    before, after = measured.before, measured.after
    if "candidate" in exports:
        before = {**before, ONNX_METRIC: _agreement(exports["candidate"])}
    if "purified" in exports and after is not None:
        after = {**after, ONNX_METRIC: _agreement(exports["purified"])}
    return replace(measured, before=before, after=after)


def skipped(work: Workshop) -> list[Skipped]:
    """What the steps did not check, be it that nobody asked or that it could not be done."""
    told = [*_notes(work, "errors"), *_notes(work, "skipped")]
    return [Skipped(step=step, reason=reason) for step, reason in told]


def _agreement(entry: dict[str, Any]) -> Measure:
    return agreement(from_dict(Parity, entry["parity"]))


def _notes(work: Workshop, kind: str) -> list[tuple[str, str]]:
    done = work.room.state().items()
    return [(step, line) for step, entry in done for line in entry.notes.get(kind, [])]


def _class_counts(work: Workshop) -> dict[str, int]:
    if work.data is None:
        return {}
    images = work.data.verify
    counts = images.labels.bincount(minlength=len(images.classes)).tolist()
    return dict(zip(images.classes, counts, strict=True))


def _read(work: Workshop, name: str, default: Any) -> Any:
    return work.room.read_json(name) if work.room.file(name).exists() else default
