"""An audit and a model's history, as lines for a terminal or a log."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from gatekeeper.audit.summary import Audit, Row
from gatekeeper.foreign_text import visible
from gatekeeper.ledger.entries import Past

_MOST = 20  # versions that are named; the page has all of them


def audit_text(audit: Audit, page: Path) -> str:
    """Say how the registry stands, what changed, and what needs somebody's attention."""
    counts = audit.counts
    there = counts.passed + counts.hardened + counts.rejected + counts.undecided
    lines = [
        f"{audit.registry}: {there} version(s), {audit.judged} judged now",
        f"  pass {counts.passed}  hardened {counts.hardened}  reject {counts.rejected}  "
        f"undecided {counts.undecided}",
    ]
    lines += _section("Changed since the audit before", _changed(audit.rows, audit), _news)
    needy = (r for r in audit.rows if r.change != "gone" and not r.accepted)
    lines += _section("Not to be used", needy, _why)
    lines += [f"Trouble: {trouble}" for trouble in audit.troubles]
    return "\n".join([*lines, f"Page: {page}"])


def history_text(model: str, past: list[Past]) -> str:
    """Tell every change of every version of a model, oldest first."""
    lines = [f"{visible(model)}: {len(past)} change(s)"]
    for one in past:
        digest = one.artifact_sha256[:8] or "-"
        findings = "" if one.findings is None else f", {one.findings} finding(s)"
        policy = f" by {visible(one.policy)}" if one.policy else ""
        lines.append(
            f"  {one.at}  audit {one.audit}  {visible(one.version)}  {one.change:7}  "
            f"{one.decision.upper()}{policy}{findings}  {digest}  {visible(one.run) or '-'}"
        )
        if one.reason:
            lines.append(f"      {visible(one.reason)}")
    return "\n".join(lines)


def _changed(rows: Iterable[Row], audit: Audit) -> Iterable[Row]:
    # In a first audit everything is new, which is no news.
    first = len(audit.trend) <= 1
    return (row for row in rows if row.change != "same" and not first)


def _section(title: str, rows: Iterable[Row], line: Callable[[Row], str]) -> list[str]:
    named = list(rows)
    if not named:
        return []
    told = [f"  {line(row)}" for row in named[:_MOST]]
    more = [f"  and {len(named) - _MOST} more"] if len(named) > _MOST else []
    return [f"{title}:", *told, *more]


def _news(row: Row) -> str:
    was = f" (was {row.before})" if row.before and row.before != row.decision else ""
    if row.change == "gone":
        return f"{row.model}/{row.version}: gone (was {row.decision})"
    return f"{row.model}/{row.version}: {row.change}, {row.decision}{was}"


def _why(row: Row) -> str:
    return f"{row.model}/{row.version}: {row.decision.upper()}: {row.reason}"
