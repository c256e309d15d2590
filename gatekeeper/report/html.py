"""The report for people: one self-contained page, drawn from the record by a template."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gatekeeper.records import GateRecord
from gatekeeper.report.charts import history_chart, norms_chart, recall_chart
from gatekeeper.report.wording import LABELS, MEANING, NEXT, measured, percent, visible
from gatekeeper.resources import bundled
from gatekeeper.rules import RULES

_PNG = b"\x89PNG\r\n\x1a\n"
_SEVERITIES = ("critical", "high", "medium", "low", "info")


def html(record: GateRecord) -> str:
    """Draw `record` as HTML; everything in it is escaped, nothing is loaded from elsewhere."""
    folder = bundled("reports/templates")
    room = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    room.filters.update(percent=percent, measured=measured, visible=visible, picture=_picture)
    style = (folder / "report.css").read_text(encoding="utf-8")
    return room.get_template("report.html.j2").render(
        record=record, style=style, **_drawn(record), **_sorted(record)
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
        "recalls": recall_chart(before, after),
        "histories": [(attempt, history_chart(attempt)) for attempt in attempts],
    }


def _sorted(record: GateRecord) -> dict[str, Any]:
    """The tables: checks by metric, findings by weight, triggers by size."""
    metrics = list(dict.fromkeys(check.metric for check in record.checks))
    checks = {(check.metric, check.subject): check for check in record.checks}
    findings = sorted(record.findings, key=lambda one: _SEVERITIES.index(one.severity))
    triggers = sorted(
        record.triggers,
        key=lambda one: (one.subject != "candidate", one.area is None, one.area or 0.0),
    )
    return {
        "metrics": metrics,
        "checks": checks,
        "findings": findings,
        "triggers": triggers,
        "labels": LABELS,
        "meaning": MEANING[record.verdict.decision],
        "next": NEXT[record.verdict.decision],
        "rules": RULES,
    }


def _picture(encoded: str) -> str:
    """Give the data URI of a PNG, or nothing where the record holds something else."""
    try:
        content = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return f"data:image/png;base64,{encoded}" if content.startswith(_PNG) else ""
