"""A version's files: which of them holds the weights, and is another one of them hostile?"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from gatekeeper.audit.terms import Ready, card_digest, stamp_of
from gatekeeper.card import beside
from gatekeeper.foreign_text import visible
from gatekeeper.inspection import MODEL_SUFFIXES, Inspected, inspect_all
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
    card_stamp: str = ""  # of the file system, taken before the card was read
    fault: str = ""  # why nothing can be judged
    lasting: bool = True  # False where the fault may have been the machine's
    blocked: str = ""  # what is hostile about another file of the version


def look(folder: Path, ready: Ready) -> Looked:
    """Find the weights file of the version in `folder`, and inspect the files around it.

    Raises:
        OSError: a file cannot be read.
        CardError: the operator's card is malformed.
        RunDirectoryError: the machine has no room for a quarantine child.
    """
    files, links = _files(folder)
    if links:
        what = f"holds a link ({_listed(links)}). Put the file itself there."
        return Looked(fault=what)
    file, fault = _choose(files, ready.rule.file)
    blocked, unsure = _around(folder, file) if len(files) > 1 else ("", "")
    if blocked or unsure or not file:
        return Looked(fault=fault or unsure, blocked=blocked, lasting=not unsure)
    path = folder / file
    given = ready.card_for(path.name)
    card = given or beside(path)
    stamp = stamp_of([card])
    return Looked(
        file=file,
        sha256=sha256_file(path),
        bytes=path.stat().st_size,
        card=card,
        card_trusted=given is not None,
        card_sha256=card_digest(card, trusted=given is not None),
        card_stamp=stamp,
    )


def hostile(file: Path) -> str:
    """Say what is hostile about a weights file that cannot be scanned; "" where nothing is."""
    (one,) = inspect_all([file]).files
    return _finding(one)


def _finding(one: Inspected) -> str:
    """Give what blocks a file; "" where nothing does."""
    if one.state != "blocked" or one.inspection is None:
        return ""
    first = one.inspection.findings[0]
    return f"{visible(first.message)} ({first.rule_id})"


def _files(folder: Path) -> tuple[list[str], list[str]]:
    """Name every file below `folder`, and every link."""
    found: list[str] = []
    links: list[str] = []
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in (*names, *folders):
            path = Path(place, name)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                links.append(path.relative_to(folder).as_posix())
            elif not stat.S_ISDIR(mode):
                found.append(path.relative_to(folder).as_posix())
    return sorted(found), sorted(links)


def _choose(files: list[str], pattern: str | None) -> tuple[str, str]:
    """Give the weights file, or why there is none."""
    name, fault = _chosen(files, pattern)
    if name != visible(name):
        what = f"the weights file's name cannot be shown as it is ({visible(name)})"
        return "", f"{what}. Give it a plain one."
    return name, fault


def _chosen(files: list[str], pattern: str | None) -> tuple[str, str]:
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


def _around(folder: Path, file: str) -> tuple[str, str]:
    """Say what is hostile about files beside the weights, or why one of them cannot be told.

    Whoever loads all of a version runs them, too.
    """
    unsure = ""
    for one in inspect_all([folder]).files:
        name = Path(one.path).relative_to(folder).as_posix()
        if name == file or name.endswith(_CARD):
            continue
        if finding := _finding(one):
            return f"{visible(name)}, beside the weights: {finding}", ""
        if one.state != "clean" and not unsure:
            unsure = f"{visible(name)}, beside the weights, is not known to be harmless: "
            unsure += visible(one.trouble)
    return "", unsure
