"""The report for people: one self-contained page, drawn from the record by a template."""

from __future__ import annotations

import base64
import binascii
from typing import Any, get_args

from markupsafe import Markup

from gatekeeper.records import GateRecord, Purification, Subject
from gatekeeper.report.assessment_charts import standing_chart, units_chart
from gatekeeper.report.attempts_chart import attempts_chart
from gatekeeper.report.charts import MOST_CLASSES, history_chart, norms_chart, recall_chart
from gatekeeper.report.templates import beside_templates, templates
from gatekeeper.report.wording import (
    AFTERMATH_LABELS,
    EVIDENCE_LABELS,
    KINDS,
    LABELS,
    MEANING,
    SCREEN_LABELS,
    STANDING,
    TELLING,
    assessment_of,
    in_short,
    interval,
    next_step,
    percent,
    place,
    wanted,
)
from gatekeeper.rules import RULES

_PNG = b"\x89PNG\r\n\x1a\n"
_SEVERITIES = ("critical", "high", "medium", "low", "info")
_SHOWN, _SHOWN_LOW = 12, 4  # findings, and low ones alone, before the rest is folded away


def html(record: GateRecord) -> str:
    """Draw `record` as HTML; everything in it is escaped, nothing is loaded from elsewhere."""
    room = templates()
    room.filters.update(percent=percent, interval=interval, wanted=wanted, picture=_picture)
    style = beside_templates("report.css")
    return room.get_template("report.html.j2").render(
        record=record, style=style, **_drawn(record), **_sorted(record), **_worded(record)
    )


def _drawn(record: GateRecord) -> dict[str, Any]:
    """The pictures."""
    flagged = {(f.layer, f.unit) for f in record.findings if f.unit is not None}
    verification = record.verification
    before = verification.before if verification else {}
    after = (verification.after if verification else None) or {}
    attempts = record.purification.attempts if record.purification else ()
    return {
        "norms": norms_chart(record.norms, flagged),
        "standing": standing_chart(record.assessment) if record.assessment else Markup(),
        "units": units_chart(record.attribution) if record.attribution else Markup(),
        "recalls": recall_chart(before, after),
        "tried": attempts_chart(attempts, record.checks),
        "aftermath": [name for name in AFTERMATH_LABELS if name in {**before, **after}],
        "before": before,
        "after": after,
        "histories": [
            (number, chart, any(epoch.accuracy is not None for epoch in attempt.history))
            for number, attempt in enumerate(attempts, start=1)
            if (chart := history_chart(attempt))
        ],
        "kept": _kept(record.purification),
        "has_purified": bool(after) or any(layer.after for layer in record.norms),
        "has_flagged": bool(flagged),
        "classes": sum(name.startswith("recall:") for name in before),
        "most_classes": MOST_CLASSES,
    }


def _kept(purification: Purification | None) -> int:
    """Number of the attempt that gave the purified network, from 1; 0 where none did."""
    if purification is None:
        return 0
    numbers = [
        number
        for number, attempt in enumerate(purification.attempts, start=1)
        if attempt.outcome == "accepted"
        and attempt.settings.items() <= purification.settings.items()
    ]
    return max(numbers, default=0)


def _sorted(record: GateRecord) -> dict[str, Any]:
    """The tables: checks by metric, findings by weight, triggers by size."""
    checks = {(check.metric, check.subject): check for check in record.checks}
    findings = sorted(record.findings, key=lambda one: _SEVERITIES.index(one.severity))
    weighty = sum(finding.severity not in ("low", "info") for finding in findings)
    shown = min(_SHOWN, max(weighty, _SHOWN_LOW))
    triggers = sorted(
        record.triggers,
        key=lambda one: (one.subject != "candidate", one.area is None, one.area or 0.0),
    )
    return {
        "metrics": list(dict.fromkeys(check.metric for check in record.checks)),
        "subjects": list(dict.fromkeys(check.subject for check in record.checks)),
        "checks": checks,
        "findings": findings[:shown],
        "more_findings": findings[shown:],
        "weighed": {one.screen for one in record.assessment.evidence}
        if record.assessment
        else set(),
        "assessments": {name: assessment_of(record, name) for name in get_args(Subject)},
        "noted": {finding.screen for finding in findings},
        "triggers": triggers,
    }


def _worded(record: GateRecord) -> dict[str, Any]:
    return {
        "labels": LABELS,
        "in_short": in_short,
        "aftermath_labels": AFTERMATH_LABELS,
        "telling": TELLING,
        "screen_labels": SCREEN_LABELS,
        "evidence_labels": EVIDENCE_LABELS,
        "standing_words": STANDING,
        "kind_words": KINDS,
        "meaning": MEANING[record.verdict.decision],
        "next": next_step(record),
        "rules": RULES,
        "place": place,
    }


def _picture(encoded: str) -> str:
    """Give the data URI of a PNG, or nothing where the record holds something else."""
    try:
        content = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return f"data:image/png;base64,{encoded}" if content.startswith(_PNG) else ""
