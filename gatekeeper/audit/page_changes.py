"""What an audit tells at a glance: the state of the registry, and what is new since the last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gatekeeper.audit.page_rows import Line
from gatekeeper.audit.summary import Audit

ENDED = {"reject": "rejected", "undecided": "undecided", "hardened": "hardened", "pass": "passed"}
KINDS = {
    "verdict": "Verdict changed",
    "content": "Other bytes under the same version",
    "new": "New in the registry",
    "gone": "Gone from the registry",
}
_MEANING = {
    0: "Every version passed, or was hardened under a policy that accepts that.",
    1: "At least one version is rejected, or was hardened under a policy that accepts no hardened "
    "network.",
    3: "Nothing is rejected, but not everything could be decided or read. Treat that as not "
    "accepted.",
}
_UNFINISHED = "The audit could not finish. What it saw is below; trust no verdict that is missing."


@dataclass(frozen=True, kw_only=True)
class Kind:
    """All changes of one kind: how many, and how they divide."""

    change: str
    title: str
    count: int
    divided: tuple[str, ...]  # `2 pass → reject`, the worst first


def headline(audit: Audit, shown: Sequence[Line]) -> str:
    """Say in a few words how the registry stands."""
    waiting = sum(line.attention and line.decision in ("pass", "hardened") for line in shown)
    parts = (
        (audit.counts.rejected, "rejected"),
        (audit.counts.undecided, "undecided"),
        (waiting, "hardened but not accepted"),
    )
    told = ", ".join(f"{number:,} {word}" for number, word in parts if number)
    if told:
        return told
    return "All accepted" if total(audit) else "No version in this registry"


def standing(audit: Audit, shown: Sequence[Line]) -> str:
    """Colour of the headline, as a decision: never better than what the rows say."""
    if audit.exit_code == 1 or audit.counts.rejected:
        return "reject"
    calm = audit.exit_code == 0 and not any(line.attention for line in shown)
    return "pass" if calm and not audit.counts.undecided else "undecided"


def meaning(audit: Audit) -> str:
    """Say what the exit code means."""
    return _MEANING.get(audit.exit_code, _UNFINISHED)


def total(audit: Audit) -> int:
    """How many versions the registry holds."""
    counts = audit.counts
    return counts.passed + counts.hardened + counts.rejected + counts.undecided


def is_first(audit: Audit) -> bool:
    """Whether there is no audit before it to compare with."""
    return len(audit.trend) < 2 and all(row.change == "new" for row in audit.rows)


def kinds(shown: Sequence[Line]) -> list[Kind]:
    """Every kind of change, also where there is none of it."""
    by_change = {change: [line for line in shown if line.change == change] for change in KINDS}
    return [
        Kind(change=change, title=title, count=len(found), divided=_divided(change, found))
        for (change, title), found in zip(KINDS.items(), by_change.values(), strict=True)
    ]


def changed_for_the_worse(shown: Sequence[Line]) -> list[Line]:
    """What changed and needs somebody, the worst first."""
    found = [line for line in shown if line.attention and line.change != "same"]
    return sorted(found, key=lambda line: (line.rank, list(KINDS).index(line.change)))


def waiting(shown: Sequence[Line]) -> list[Line]:
    """What needs somebody, the worst first."""
    return sorted((line for line in shown if line.attention), key=lambda line: line.rank)


def _divided(change: str, found: Sequence[Line]) -> tuple[str, ...]:
    ranked = sorted(found, key=lambda line: line.rank)
    if change == "verdict":
        return tuple(f"{n:,} {what}" for what, n in Counter(x.changed for x in ranked).items())
    return tuple(f"{n:,} {ENDED[what]}" for what, n in Counter(x.decision for x in ranked).items())
