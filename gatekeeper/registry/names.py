"""Names that a registry gives: shown harmlessly, told apart, and kept inside one folder."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

from gatekeeper.foreign_text import visible

_UNKNOWN = "\N{REPLACEMENT CHARACTER}"
_LONGEST = 255  # bytes of one name on common file systems


def is_plain(name: str) -> bool:
    """Tell whether `name` is one component of a path and can be shown as it is."""
    return name not in {"", ".", ".."} and name == _one_line(name) and _UNKNOWN not in name


def shown(name: str) -> str:
    """Give `name` as a record, a terminal and a database may hold it.

    What is not plain has its odd signs replaced and ends with a digest of its bytes, so that two
    odd names stay two, and none of them is taken for a plain one.
    """
    if is_plain(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{_one_line(name)}{_UNKNOWN} ({digest})"


def trouble_with(member: str) -> str:
    """Say why a file named `member`, relative and with slashes, can be had nowhere; "": it can."""
    for part in member.split("/"):
        if not is_plain(part):
            return f"the file name {shown(member)} leaves its folder, or cannot be shown"
        if len(part.encode()) > _LONGEST:
            return f"the file name {shown(part[:60])}... is longer than {_LONGEST} bytes"
    return ""


def inside(folder: Path, member: str) -> Path:
    """Give the place of `member`, which has no trouble, below `folder`."""
    return folder.joinpath(*PurePosixPath(member).parts)


def _one_line(name: str) -> str:
    return visible(name).replace("/", _UNKNOWN).replace("\\", _UNKNOWN)
