"""A version's files: which of them holds the weights, and is another one of them hostile?"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from gatekeeper.audit.terms import Ready, card_digest
from gatekeeper.card import beside
from gatekeeper.foreign_text import visible
from gatekeeper.inspection import MODEL_SUFFIXES, inspect_all
from gatekeeper.rundir import sha256_file

_CARD = ".card.yaml"
_MOST_FILES = 5_000
_NAMED = 3  # files that a fault names


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What a version's folder holds."""

    file: str = ""  # the weights file below the folder, with forward slashes
    sha256: str = ""
    bytes: int | None = None
    card: Path | None = None  # that is used: the operator's, else the one beside the file
    card_trusted: bool = True
    card_sha256: str = ""
    fault: str = ""  # why nothing can be judged
    blocked: str = ""  # what is hostile about another file of the version


def look(folder: Path, ready: Ready) -> Looked:
    """Find the weights file of the version in `folder`, and inspect the files around it.

    Raises:
        OSError: a file cannot be read.
        CardError: the operator's card is malformed.
        RunDirectoryError: the machine has no room for a quarantine child.
    """
    files = _files(folder)
    file, fault = _choose(files, ready.rule.file)
    blocked = _blocked(folder, [name for name in files if name != file])
    if not file:
        return Looked(fault=fault, blocked=blocked)
    path = folder / file
    given = ready.card_for(path.name)
    card = given or beside(path)
    return Looked(
        file=file,
        sha256=sha256_file(path),
        bytes=path.stat().st_size,
        card=card,
        card_trusted=given is not None,
        card_sha256=card_digest(card, trusted=given is not None),
        blocked=blocked,
    )


def _files(folder: Path) -> list[str]:
    """Name every regular file below `folder`; what is none is told by the registry."""
    found: list[str] = []
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in names:
            path = Path(place, name)
            if stat.S_ISREG(path.lstat().st_mode):
                found.append(path.relative_to(folder).as_posix())
    return sorted(found)


def _choose(files: list[str], pattern: str | None) -> tuple[str, str]:
    """Give the weights file, or why there is none."""
    if len(files) > _MOST_FILES:
        return "", f"holds more than {_MOST_FILES} files. Keep weights apart from everything else."
    if pattern is not None:
        fits = [name for name in files if fnmatchcase(name, pattern)]
        if len(fits) == 1:
            return fits[0], ""
        what = f"{len(fits)} files fit `file: {visible(pattern)}` ({_listed(fits or files)})"
        return "", f"{what}. Correct `file` in the rule."
    others = [name for name in files if not name.endswith(_CARD)]
    models = [name for name in others if PurePosixPath(name).suffix.lower() in MODEL_SUFFIXES]
    fits = models or others
    if len(fits) == 1:
        return fits[0], ""
    if not fits:
        return "", "holds no model file. Put the weights there, or remove the version."
    what = f"holds {len(fits)} files that may be the model ({_listed(fits)})"
    return "", f"{what}. Name one with `file` in the rule."


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(visible(name) for name in names[:_NAMED]) + more


def _blocked(folder: Path, others: list[str]) -> str:
    """Say what inspection forbids about files beside the weights: whoever loads all runs it."""
    others = [name for name in others[:_MOST_FILES] if not name.endswith(_CARD)]
    if not others:
        return ""
    inspected = inspect_all([folder / name for name in others])
    for file in inspected.files:
        if file.state == "blocked" and file.inspection is not None:
            name = Path(file.path).relative_to(folder).as_posix()
            first = file.inspection.findings[0]
            return f"{visible(name)}, beside the weights: {first.message} ({first.rule_id})"
    return ""
