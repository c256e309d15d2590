"""The cases of the evasion scorecard: what is laid out, and what must be seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Words = list[str]
Content = bytes | Callable[[], bytes]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One line of the scorecard.

    `lay` puts files into a folder and gives the words of the command, run there; a case without
    it stands in `elsewhere`: the tests that hold it, or why there are none.
    """

    row: int
    what: str
    expect: str
    lay: Callable[[Path], Words] | None = None
    elsewhere: str = ""
    told: tuple[str, ...] = ()  # each must stand in what is said
    excuse: str = ""  # why a short line is short


def laid(content: Content, name: str = "model.pt") -> Callable[[Path], Words]:
    """Write one file, and inspect it."""

    def lay(folder: Path) -> Words:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content())
        return ["inspect", name]

    return lay


def scanned(content: Content, name: str = "model.pt") -> Callable[[Path], Words]:
    """Write one file, and scan it without clean images."""

    def lay(folder: Path) -> Words:
        laid(content, name)(folder)
        return ["scan", name, "--policy", "ci", "--out", "run", "--quiet"]

    return lay


BLOCK, UNDECIDED, EITHER = "BLOCK", "UNDECIDED", "BLOCK or UNDECIDED"
USAGE, HANDLED, CLEAN = "exit 2", "handled", "no finding"
