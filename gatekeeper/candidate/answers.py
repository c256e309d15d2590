"""Takes nothing from a child's answer that an honest one could not say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from gatekeeper.records import Finding, Severity
from gatekeeper.rules import RULES

_SEVERITIES = get_args(Severity)
_TOLD = ("rule_id", "severity", "message", "member", "offset")  # of a finding
_LONGEST = 4000  # characters of a text


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a child says it saw in a file."""

    kind: str
    findings: tuple[Finding, ...] = ()
    unreadable: str = ""
    hint: str = ""
    members: int = 0


def honest(answer: dict[str, Any]) -> Told | None:
    """Give what a child says of a file; None where no honest one says so."""
    try:
        findings = tuple(map(_finding, answer["findings"]))
        told = Told(**{**answer, "findings": findings})
        texts = (told.kind, told.unreadable, told.hint)
        plain = type(told.members) is int and told.members >= 0
        return told if plain and all(map(_is_text, texts)) else None
    except (KeyError, TypeError, ValueError):
        return None


def kept(found: list[Any]) -> tuple[Finding, ...]:
    """Give what a child found before it ended; nothing where it is not what an honest one tells."""
    try:
        return tuple(map(_finding, found))
    except (KeyError, TypeError, ValueError):
        return ()


def _finding(told: Any) -> Finding:
    """Give one finding.

    Raises:
        KeyError, TypeError, ValueError: no honest child tells this.
    """
    finding = Finding(screen="inspect", **{name: told[name] for name in _TOLD})
    texts = (finding.rule_id, finding.severity, finding.message, finding.member)
    known = finding.rule_id in RULES and finding.severity in _SEVERITIES
    if not all(map(_is_text, texts)) or not known:
        message = "no finding of ours"
        raise ValueError(message)
    if finding.offset is not None and (type(finding.offset) is not int or finding.offset < 0):
        message = "no place in a file"
        raise ValueError(message)
    return finding


def _is_text(text: object) -> bool:
    """Tell whether this is a text that can be written; half a character is a ValueError."""
    return isinstance(text, str) and len(text) <= _LONGEST and bool(text.encode() or True)
