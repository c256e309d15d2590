"""Holds an audit against the one before: the rows of the page, and the lines of the history."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from gatekeeper.audit.settled import Settled
from gatekeeper.audit.summary import Change, Counts, Row
from gatekeeper.foreign_text import visible
from gatekeeper.ledger.entries import Seen

_REPORT = "report.html"


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A row of the page, and the version as the ledger keeps it."""

    row: Row
    seen: Seen
    change: Change
    before: Seen | None

    @property
    def is_news(self) -> bool:
        """Whether the ledger is to be told."""
        return self.change != "same" or self.seen != self.before

    @property
    def in_history(self) -> str | None:
        """The change that belongs in the version's history; None where there is none."""
        if self.change != "same":
            return self.change
        rekeyed = self.before is not None and self.before.key != self.seen.key
        return "terms" if rekeyed else None


def found(settled: Settled, before: Seen | None, *, now: str, folder: Path) -> Found:
    """Make the row of a version that is there; `folder` is the audit's, where reports lie."""
    change = _change(settled, before)
    same = change == "same" and before is not None
    seen = Seen(
        model=settled.version.model,
        version=settled.version.version,
        fingerprint=settled.fingerprint,
        file=visible(settled.file),
        artifact_sha256=settled.sha256,
        card_sha256=settled.card_sha256,
        key=settled.key,
        blocked=visible(settled.blocked),
        decision=settled.decision,
        accepted=settled.accepted,
        reason=visible(settled.reason),
        since=before.since if same and before else now,
        published=before.published if before else "",
    )
    return Found(row=_row(settled, seen, before, change, folder), seen=seen, change=change,
                 before=before)  # fmt: skip


def gone(before: Seen) -> Found:
    """Make the row of a version that is not in the registry any more."""
    seen = replace(before, gone=True, fingerprint="")
    row = Row(
        model=visible(before.model), version=visible(before.version), address="",
        file=visible(before.file), decision=before.decision, accepted=before.accepted,
        reason="not in the registry any more", findings=0, sha256=before.artifact_sha256,
        bytes=None, policy="", judged_at="", report="", change="gone", before=before.decision,
        since=before.since, kept=True,
    )  # fmt: skip
    return Found(row=row, seen=seen, change="gone", before=before)


def count(rows: Iterable[Row]) -> Counts:
    """Count the versions that are there by their verdict."""
    decisions = [row.decision for row in rows if row.change != "gone"]
    return Counts(
        passed=decisions.count("pass"),
        hardened=decisions.count("hardened"),
        rejected=decisions.count("reject"),
        undecided=decisions.count("undecided"),
    )


def exit_code(rows: Iterable[Row], *, whole: bool) -> int:
    """Give 1 where anything there is refused, else 3 where anything is undecided, else 0."""
    there = [row for row in rows if row.change != "gone"]
    if any(not row.accepted and row.decision != "undecided" for row in there):
        return 1
    undecided = any(row.decision == "undecided" for row in there)
    return 3 if undecided or not whole else 0


def _change(settled: Settled, before: Seen | None) -> Change:
    if before is None or before.gone:
        return "new"
    if settled.sha256 and before.artifact_sha256 and settled.sha256 != before.artifact_sha256:
        return "content"
    verdict = (settled.decision, settled.accepted)
    return "same" if verdict == (before.decision, before.accepted) else "verdict"


def _row(settled: Settled, seen: Seen, before: Seen | None, change: Change, folder: Path) -> Row:
    judgement = settled.judgement
    report = f"{judgement.run}/{_REPORT}" if judgement and judgement.run else ""
    return Row(
        model=visible(seen.model),
        version=visible(seen.version),
        address=visible(settled.version.address),
        file=visible(seen.file),
        decision=seen.decision,
        accepted=seen.accepted,
        reason=visible(seen.reason),
        findings=judgement.findings if judgement else 0,
        sha256=seen.artifact_sha256,
        bytes=settled.bytes if settled.bytes is not None else settled.version.bytes,
        policy=judgement.policy if judgement else settled.policy,
        judged_at=judgement.judged_at if judgement else "",
        report=report if report and (folder / report).is_file() else "",
        change=change,
        before=before.decision if before and not before.gone else None,
        since=seen.since,
        kept=settled.kept,
    )
