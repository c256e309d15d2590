"""A version that an audit is done with, and what is to be said about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gatekeeper.ledger.entries import Judgement
from gatekeeper.records import Decision
from gatekeeper.registry.interface import Version
from gatekeeper.registry.redaction import in_one_line


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """One version with its verdict, or the fault that kept it from one."""

    version: Version
    policy: str = ""
    fingerprint: str = ""  # the registry's, with all else that decides what is looked at
    file: str = ""
    sha256: str = ""
    bytes: int | None = None
    card_sha256: str = ""
    key: str = ""
    judgement: Judgement | None = None
    blocked: str = ""  # what is hostile about a file beside the weights
    fault: str = ""  # why nothing was judged, and what to do next
    busy: str = ""  # who judges the same bytes at this moment
    kept: bool = False  # judged by an earlier audit, or for another version of this one

    @property
    def decision(self) -> Decision:
        """The version's verdict; nothing that was not judged passes."""
        if self.blocked:
            return "reject"
        return self.judgement.decision if self.judgement and not self.fault else "undecided"

    @property
    def accepted(self) -> bool:
        """Whether the verdict lets the version be used."""
        return bool(
            self.judgement and self.judgement.accepted and not self.blocked and not self.fault
        )

    @property
    def reason(self) -> str:
        """One line: why it is so."""
        judged = self.judgement.reason if self.judgement else ""
        return self.blocked or self.fault or judged


def settled_or_lost(version: Version, result: Callable[[], Settled]) -> Settled:
    """Give what a worker made of `version`; where the worker was lost, that is its row's reason."""
    try:
        return result()
    except Exception as error:
        # One worker must not end the audit of all others.
        what = f"its worker was lost ({type(error).__name__}: {in_one_line(error)}). Audit again."
        return Settled(version=version, fault=what)


def read_version(plain: dict[str, Any]) -> Version:
    """Give back what `asdict` made of a version."""
    return Version(**plain)


def read_settled(plain: dict[str, Any]) -> Settled:
    """Give back what `asdict` made of a settled version."""
    judgement = plain["judgement"]
    return Settled(
        **{
            **plain,
            "version": Version(**plain["version"]),
            "judgement": Judgement(**judgement) if judgement else None,
        }
    )
