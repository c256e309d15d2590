"""Rows of an audit as its page shows them: harmless texts, safe links, ages in words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from operator import attrgetter
from urllib.parse import quote

from markupsafe import Markup

from gatekeeper.audit.page_times import in_words, seconds_between
from gatekeeper.audit.summary import Audit, Row
from gatekeeper.foreign_text import visible

_LONGEST_REASON = 500
_RANKS = {"reject": 0, "undecided": 1, "hardened": 3, "pass": 4}
_NOT_ACCEPTED, _GONE = 2, 5
_CHANGES = {"new": "new", "content": "other bytes", "same": "as before", "gone": "gone"}
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row, ready to be shown as it is."""

    model: str
    version: str
    address: str
    file: str
    size: str
    decision: str
    accepted: bool
    attention: bool  # somebody has to do something about it
    rank: int  # by verdict, the worst first
    reason: str
    findings: int
    sha256: str
    policy: str
    age: int  # seconds that the verdict has stood; -1: unknown
    stood: str
    scanned: str
    report: str  # a safe relative address, or empty
    change: str
    changed: str
    was: str  # another verdict than now, where the audit before gave one


def lines(audit: Audit) -> list[Line]:
    """Every row, by model and version as people count them."""
    return [_line(row, audit) for row in sorted(audit.rows, key=_place)]


def embedded(shown: Iterable[Line]) -> Markup:
    """Give the rows as JSON that no text in them can lead out of its script element."""
    names = [field.name for field in fields(Line)]
    told = attrgetter(*names)
    packed = {"fields": names, "rows": [told(line) for line in shown]}
    plain = json.dumps(packed, separators=(",", ":"))
    for sign in "<>&\x7f":
        plain = plain.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(plain)


def safe_link(path: str) -> str:
    """Give a relative path below the page as an address; empty where it is anything else."""
    # A browser takes a backslash for a slash, and drops control signs before it looks.
    if not path.isprintable() or "\\" in path or ":" in path.split("/", 1)[0]:
        return ""
    depth = 0
    for part in path.split("/")[:-1]:
        if part == "":
            return ""
        depth += {".": 0, "..": -1}.get(part, 1)
        if depth < 0:
            return ""
    return "" if path.split("/")[-1] in ("", ".", "..") else quote(path)


def _line(row: Row, audit: Audit) -> Line:
    gone = row.change == "gone"
    accepted = row.accepted and row.decision in ("pass", "hardened")
    age = seconds_between(row.since, audit.finished_at)
    stood = _stood(age, audit)
    reason = visible(row.reason)
    return Line(
        model=visible(row.model),
        version=visible(row.version),
        address=visible(row.address),
        file=visible(row.file),
        size=_size(row.bytes),
        decision=row.decision,
        accepted=accepted,
        attention=not accepted and not gone,
        rank=_rank(row, accepted=accepted),
        reason=reason if len(reason) <= _LONGEST_REASON else reason[: _LONGEST_REASON - 1] + "…",
        findings=row.findings,
        sha256=visible(row.sha256),
        policy=visible(row.policy),
        age=-1 if age is None else age,
        stood=stood,
        scanned=_scanned(row, stood, audit.finished_at),
        report=safe_link(row.report),
        change=row.change,
        changed=_changed(row),
        was=row.before or "",
    )


def _rank(row: Row, *, accepted: bool) -> int:
    if row.change == "gone":
        return _GONE
    if row.decision in ("pass", "hardened") and not accepted:
        return _NOT_ACCEPTED
    return _RANKS[row.decision]


def _stood(age: int | None, audit: Audit) -> str:
    took = seconds_between(audit.started_at, audit.finished_at)
    if age is not None and took is not None and age <= took:
        return "this audit"
    return in_words(age)


def _scanned(row: Row, stood: str, finished_at: str) -> str:
    """When it was scanned, where that is another time than that of its verdict."""
    if not row.judged_at:
        return "never scanned"
    if not row.kept and row.change != "gone":
        return "" if stood == "this audit" else "scanned now"
    ago = in_words(seconds_between(row.judged_at, finished_at))
    return "" if ago == stood else f"scanned {ago} ago"


def _changed(row: Row) -> str:
    if row.change == "verdict":
        return f"{row.before or 'none'} → {row.decision}"
    return _CHANGES[row.change]


def _size(count: int | None) -> str:
    if count is None:
        return ""
    size, unit = float(count), 0
    while size >= 999.5 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.3g} {_UNITS[unit]}"


def _place(row: Row) -> tuple[object, ...]:
    names = row.model, row.version, row.file
    return *map(_natural, names), *names, row.address, row.sha256


def _natural(name: str) -> list[tuple[int, str]]:
    """Order `v9` before `v10`; by length, as a number of many digits is no number to Python."""
    parts = re.split("([0-9]+)", name.casefold())
    return [
        (len(digits := part.lstrip("0")), digits) if at % 2 else (0, part)
        for at, part in enumerate(parts)
    ]
