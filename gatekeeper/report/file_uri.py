"""Where a file lies, as a uri that code hosts can match with the files they hold."""

from __future__ import annotations

import os
from pathlib import PurePath
from urllib.parse import quote


def uri_of(path: str) -> str:
    """Give a relative uri of what lies below the working folder, else `file:///...`.

    GitHub takes relative ones as of the repository's root, and holds `file:` against its checkout.
    """
    pure = PurePath(path)
    if not pure.is_absolute() and ".." not in pure.parts:
        return _quoted(pure)
    real = PurePath(_real(path))
    for one in (real, pure):  # a path through a link is as good as the one behind it
        if ".." not in one.parts and one.is_relative_to(_working_folder()):
            return _quoted(one.relative_to(_working_folder()))
    whole = real if ".." in pure.parts else pure
    return "file:///" + _quoted(PurePath(*whole.parts[1:]))


def _real(path: str) -> str:
    """Resolve the folder; a file that is a link keeps its own name."""
    folder, name = os.path.split(path)
    try:
        if name in ("", ".."):
            return os.path.realpath(path)
        return os.path.join(os.path.realpath(folder), name)  # noqa: PTH118 - texts, as given
    except (OSError, ValueError):  # no working folder; a null byte in a record from elsewhere
        return os.path.normpath(f"/{path}")


def _working_folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - as above
    except OSError:
        return "/nowhere"


def _quoted(path: PurePath) -> str:
    return quote(path.as_posix().encode("utf-8", "surrogateescape"))
