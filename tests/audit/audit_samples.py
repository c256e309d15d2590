"""Audits to draw: a small one of every kind of row, and ones of many rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from gatekeeper.audit.summary import SCHEMA_VERSION, Audit, Counts, Row, Trend

END = datetime(2026, 2, 3, 4, 12, 40, tzinfo=UTC)
HOSTILE = {
    "end of script": "</script><script>document.title='owned'</script>",
    "comment": "<!--<script>",
    "markup": "<img src=x onerror=alert(1)><svg onload=alert(1)>",
    "attribute": "\"'><b onmouseover=alert(1)> &quot;",
    "line ends": "one\u2028two\u2029three\r\nfour\x85",
    "right to left": "\u202egpj.exe\u2066",
    "control": "\x00\x1b[31m\x7f\x9b2J",
    "surrogates": "caf\udce9 \ud800",
    "template": "{{ 7 * 7 }}{% raw %}${7*7}",
    "long": "n" * 3000,
    "json": '\\u003c"],"rows":[[',
    "prototype": "__proto__",
    "digits": "9" * 6000,
}


def row(**told: Any) -> Row:
    """A row that passed before and now; `told` says what is otherwise."""
    model = str(told.get("model", "ocr-digits"))
    digest = hashlib.sha256(f"{model}{told.get('version')}".encode("utf-8", "replace")).hexdigest()
    plain = Row(
        model=model, version="1", address=f"models:/{model}", file="model.pt", decision="pass",
        accepted=True, reason="meets every line of policy default", findings=0, sha256=digest,
        bytes=1_500_000, policy="default", judged_at=days_ago(70), change="same", before="pass",
        report=f"reports/{digest[:12]}/report.html", since=days_ago(70), kept=True,
    )  # fmt: skip
    return replace(plain, **told)


def days_ago(days: float) -> str:
    return (END - timedelta(days=days)).isoformat()


def audit(rows: Iterable[Row], **told: Any) -> Audit:
    """The third audit of these rows."""
    held = tuple(rows)
    present = [one for one in held if one.change != "gone"]
    decisions = [one.decision for one in present]
    counts = Counts(
        passed=decisions.count("pass"), hardened=decisions.count("hardened"),
        rejected=decisions.count("reject"), undecided=decisions.count("undecided"),
    )  # fmt: skip
    earlier = Counts(passed=6, hardened=1, rejected=1, undecided=4)
    plain = Audit(
        schema_version=SCHEMA_VERSION, tool="0.1.0", number=3, registry="models/",
        started_at=(END - timedelta(minutes=37)).isoformat(), finished_at=END.isoformat(),
        exit_code=1 if counts.rejected else 3 if counts.undecided else 0, counts=counts,
        judged=sum(not one.kept for one in present), troubles=(),
        trend=(
            Trend(audit=1, finished_at=days_ago(14), counts=earlier),
            Trend(audit=2, finished_at=days_ago(7), counts=replace(earlier, undecided=2)),
            Trend(audit=3, finished_at=END.isoformat(), counts=counts),
        ), rows=held,
    )  # fmt: skip
    return replace(plain, **told)


def small() -> Audit:
    """One row of each kind that a registry gives."""
    now: dict[str, Any] = {"judged_at": days_ago(0.01), "since": days_ago(0.01), "kept": False}
    code = "pickle calls posix.system at byte 214 of archive/data.pkl (code-execution)"
    no_card = "no card, and no known architecture fits: add a rule for this model to audit.yaml"
    obeys = "candidate obeys a recovered trigger on 97 % of images; the purified network on 1.2 %"
    bad: dict[str, Any] = {"accepted": False, "findings": 3}
    return audit(
        [
            *(row(model="leaf-disease", version=str(number)) for number in (1, 2, 9, 10)),
            row(model="parking", decision="reject", reason=code, change="verdict", **bad, **now),
            row(model="id-photo", decision="reject", before=None, reason=code, change="new",
                **bad, **now),
            row(model="xray", decision="undecided", reason=no_card, file="", sha256="", bytes=None,
                before="undecided", judged_at="", report="", accepted=False),
            row(model="weld-seam", decision="hardened", reason=obeys, change="content", findings=2,
                **now),
            row(model="weld-seam", version="2", decision="hardened", reason=obeys,
                before="hardened", policy="strict", **bad),
            row(model="ocr-digits", change="verdict", before="undecided", **now),
            row(model="plant-cam", change="new", before=None, **now),
            row(model="traffic-sign", decision="reject", before="reject", reason=code,
                change="gone", **bad),
        ]
    )  # fmt: skip


def many(count: int) -> Audit:
    """`count` rows: every tenth is rejected, every tenth undecided, every hundredth new."""
    decisions = ("reject", "undecided", *["pass"] * 8)
    rows = (
        row(
            model=f"model-{number % 50}", version=str(number // 50), findings=number % 7,
            decision=decisions[number % 10], accepted=number % 10 > 1,
            reason=f"reason {number}", since=days_ago(number % 365),
            change="new" if number % 100 == 0 else "same",
            before=None if number % 100 == 0 else decisions[number % 10],
        )
        for number in range(count)
    )  # fmt: skip
    return audit(rows)
