"""What the look at one file gathers."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gatekeeper.candidate.archive import MOST_MEMBERS, Member
from gatekeeper.candidate.pickles import MOST_OPCODES
from gatekeeper.records import Finding

_MOST_FINDINGS = 100
_LONGEST = 2000  # characters of what is told of a file


class Seen:
    """What the look at one file gathers; `unreadable` keeps the first reason to refuse."""

    def __init__(self, tell: Callable[[Finding], None] = lambda _: None) -> None:
        """Begin with nothing seen and the whole budget of opcodes; `tell` of findings at once."""
        self._tell = tell
        self.findings: list[Finding] = []
        self.unreadable = ""
        self.hint = ""
        self.members = 0
        self.foreign: list[str] = []  # classes that nothing here can read
        self.layers: list[str] = []  # classes of known layers, where torch reads them
        self.opcodes_left = MOST_OPCODES
        # For all archives of the file together, also those inside of others.
        self.members_left = MOST_MEMBERS
        self.inflated_left = 0  # bytes; how many depends on the file

    def affords(self, members: Iterable[Member]) -> bool:
        """Take one archive's members from what is left to look at; tell whether they fitted."""
        sizes = [member.size for member in members]
        self.members_left -= len(sizes)
        self.inflated_left -= sum(sizes)
        return min(self.members_left, self.inflated_left) >= 0

    def refuse(self, reason: str, hint: str = "Ask its maker to save it again.") -> None:
        """Say why the file cannot be accepted."""
        if not self.unreadable:
            self.unreadable, self.hint = reason[:_LONGEST], hint

    def add(self, rule: str, severity: str, message: str, member: str, offset: int | None) -> None:
        """Add a finding; the first hundred are enough to block."""
        if len(self.findings) >= _MOST_FINDINGS:
            return
        finding = Finding(
            rule_id=rule,
            screen="inspect",
            severity=severity,  # type: ignore[arg-type]
            message=message[:_LONGEST],
            member=member[:_LONGEST],
            offset=offset,
        )
        self.findings.append(finding)
        self._tell(finding)
