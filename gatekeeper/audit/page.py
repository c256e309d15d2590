"""The audit for people: one page that carries all it needs, drawn from nothing but the audit."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from markupsafe import Markup

from gatekeeper.audit.page_changes import (
    ENDED,
    KINDS,
    changed_for_the_worse,
    headline,
    is_first,
    kinds,
    meaning,
    standing,
    total,
    waiting,
)
from gatekeeper.audit.page_rows import Line, embedded, lines
from gatekeeper.audit.page_times import in_words, moment, seconds_between
from gatekeeper.audit.page_trend import ALL, MOST_AUDITS, WORRYING, trend_chart
from gatekeeper.audit.summary import Audit
from gatekeeper.report.templates import beside_templates, templates

_STYLES = ("report.css", "audit.css", "audit-table.css")
_SCRIPTS = ("audit-rows.js", "audit-state.js", "audit-table.js", "audit-controls.js")
_MOST_CHANGED, _MOST_PLAIN = 25, 500
_COLUMNS = {
    "model": "Model",
    "version": "Version",
    "file": "File",
    "verdict": "Verdict",
    "change": "Change",
    "age": "Age",
    "reason": "Reason",
    "findings": "Findings",
    "digest": "Digest",
    "policy": "Policy",
    "report": "Report",
}


def draw(audit: Audit) -> str:
    """Draw `audit` as HTML: everything in it is escaped, nothing is loaded from elsewhere."""
    style = beside_templates(*_STYLES)
    # What the scripts name stays between them, and a throw leaves the plain table standing.
    script = f'"use strict";\n{{\n{beside_templates(*_SCRIPTS)}}}\n'
    shown = lines(audit)
    page = templates().get_template("audit.html.j2")
    return page.render(
        audit=audit,
        style=Markup(style),
        script=Markup(script),
        policy=_content_policy(style, script),
        data=embedded(shown),
        **_told(audit, shown),
        **_changes(audit, shown),
        **_trend(audit),
        **_table(shown),
    )


def _content_policy(style: str, script: str) -> str:
    """Allow this style and this script, and nothing else from anywhere."""
    return (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _told(audit: Audit, shown: list[Line]) -> dict[str, Any]:
    counts = audit.counts
    return {
        "headline": headline(audit, shown),
        "standing": standing(audit, shown),
        "meaning": meaning(audit),
        "total": total(audit),
        "ended": list(
            zip(
                ENDED.items(),
                (counts.rejected, counts.undecided, counts.hardened, counts.passed),
                strict=True,
            )
        ),
        "kept": sum(row.kept and row.change != "gone" for row in audit.rows),
        "finished": moment(audit.finished_at),
        "took": in_words(seconds_between(audit.started_at, audit.finished_at)),
    }


def _changes(audit: Audit, shown: list[Line]) -> dict[str, Any]:
    worse = changed_for_the_worse(shown)
    before = audit.trend[-2] if len(audit.trend) > 1 else None
    return {
        "first": is_first(audit),
        "before": f"audit {before.audit} of {moment(before.finished_at)}" if before else "",
        "kinds": kinds(shown),
        "worse": worse[:_MOST_CHANGED],
        "more_worse": len(worse[_MOST_CHANGED:]),
    }


def _trend(audit: Audit) -> dict[str, Any]:
    trend = audit.trend if len(audit.trend) > 1 else ()
    return {
        "stacked": trend_chart(trend, ALL, "All versions by verdict, audit by audit"),
        "worrying": trend_chart(trend, WORRYING, "Rejected and undecided, audit by audit"),
        "all_series": ALL,
        "worrying_series": WORRYING,
        "left_out": max(0, len(trend) - MOST_AUDITS),
        "most_audits": MOST_AUDITS,
    }


def _table(shown: list[Line]) -> dict[str, Any]:
    plain = waiting(shown)
    present = [line for line in shown if line.change != "gone"]
    return {
        "columns": _COLUMNS,
        "attention": len(plain),
        "plain": plain[:_MOST_PLAIN],
        "verdicts": {name: sum(line.decision == name for line in present) for name in ENDED},
        "changes": {name: sum(line.change == name for line in shown) for name in (*KINDS, "same")},
    }
