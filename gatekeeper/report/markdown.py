"""The summary for a pull request or a CI page: Markdown that nothing from a model can break."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from gatekeeper.foreign_text import inert
from gatekeeper.records import GateRecord
from gatekeeper.report.wording import (
    AFTERMATH_LABELS,
    LABELS,
    MEANING,
    assessment_of,
    in_short,
    measured,
    next_step,
    observed,
    place,
    wanted,
)

_SIGNS = re.compile(r"([\\`*_{}\[\]#!|~@])")
_SHOWN = 50


def markdown(record: GateRecord) -> str:
    """Draw `record` as Markdown."""
    return "\n".join(_lines(record)) + "\n"


def _lines(record: GateRecord) -> Iterator[str]:
    verdict = record.verdict
    yield f"# Gatekeeper: {verdict.decision.upper()}"
    yield ""
    yield f"{MEANING[verdict.decision]} **{next_step(record)}**"
    yield ""
    yield from (f"- {_escaped(reason)}" for reason in verdict.reasons)
    yield ""
    yield f"Candidate {_escaped(record.candidate.path)}, sha256 `{record.candidate.sha256}`, "
    yield f"policy {_escaped(record.policy.name)}, seed {record.seed}."
    yield ""
    if record.assessment is not None:
        yield f"Screens together: {_escaped(in_short(record.assessment))}."
        if (again := assessment_of(record, "purified")) is not None:
            yield f"Of the purified network: {_escaped(in_short(again))}."
        yield ""
    if record.checks:
        yield "| check | network | observed | wanted | outcome |"
        yield "|---|---|---|---|---|"
        for check in record.checks:
            label = LABELS.get(check.metric, check.metric)
            bound = wanted(check.bound)
            cells = (label, check.subject, observed(record, check), bound, check.outcome)
            yield "| " + " | ".join(map(_escaped, cells)) + " |"
        yield ""
    yield from _beside(record)
    if record.findings:
        yield "| severity | finding | what |"
        yield "|---|---|---|"
        for finding in record.findings[:_SHOWN]:
            waived = " (waived)" if finding.waived else ""
            where = f" [{place(finding)}]" if place(finding) else ""
            told = (finding.severity, finding.rule_id + waived, finding.message + where)
            yield "| " + " | ".join(map(_escaped, told)) + " |"
        if len(record.findings) > _SHOWN:
            yield f"\n{len(record.findings) - _SHOWN} more in the report."
        yield ""
    if record.skipped:
        yield "Not checked:"
        yield ""
        yield from (f"- {_escaped(skipped.reason)}" for skipped in record.skipped)


def _beside(record: GateRecord) -> Iterator[str]:
    """What was measured beside the policy."""
    before = record.verification.before if record.verification else {}
    after = (record.verification.after if record.verification else None) or {}
    names = [name for name in AFTERMATH_LABELS if name in before or name in after]
    if not names:
        return
    yield "| beside the policy | candidate | purified |"
    yield "|---|---|---|"
    for name in names:
        both = (measured(side[name]) if name in side else "–" for side in (before, after))
        yield "| " + " | ".join(map(_escaped, (AFTERMATH_LABELS[name], *both))) + " |"
    yield ""


def _escaped(text: str) -> str:
    """Escape for Markdown and HTML, so that a workflow command cannot form either."""
    return _SIGNS.sub(r"\\\1", html.escape(inert(text), quote=False))
