"""What every registry is: a list of versions, their files as bytes, and a place for verdicts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gatekeeper.records import Decision


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """One version of a model, as the registry lists it; nothing of it has been fetched."""

    model: str
    version: str
    address: str  # where a person finds it: a folder, `models:/NAME/3`, `s3://bucket/NAME/3`
    fingerprint: str  # another one wherever the bytes may be others; empty: never the same
    bytes: int | None = None  # of all its files, where the registry tells
    fault: str = ""  # why nothing of it can be fetched, where the registry knows already


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What is written back about a version."""

    decision: Decision
    accepted: bool  # by its policy: always for pass, for hardened where `accept_hardened` says so
    artifact_sha256: str
    policy_sha256: str
    report: str  # address of the report
    judged_at: str  # ISO 8601, UTC
    hardened: Path | None = None  # the hardened ONNX artifact, where there is one


class Registry(Protocol):
    """A registry; every method raises RegistryError where it does not answer as it should."""

    address: str  # as the operator gave it

    def versions(self) -> Iterator[Version]:
        """Every version, page by page; a version that cannot be read is listed with its fault."""
        ...

    def fetch(self, version: Version, into: Path) -> Path:
        """Give a folder with every file of `version`: its own where it is local, else in `into`.

        Raises:
            RegistryError: it is gone, or cannot be fetched; `passing` where trying again may help.
        """
        ...

    def publish(self, version: Version, outcome: Outcome) -> None:
        """Write the verdict where the registry's users see it; does nothing where it has no place.

        Raises:
            RegistryError: the registry did not take it.
        """
        ...
