"""Text from outside, made harmless for a file, a terminal, or a log that a machine reads."""

from __future__ import annotations

import re

_UNKNOWN = "\N{REPLACEMENT CHARACTER}"
_SURROGATE = re.compile("[\ud800-\udfff]")


def well_formed(text: str) -> str:
    """Replace lone surrogates (bytes of a file name that are no UTF-8), which no file can hold."""
    return _SURROGATE.sub(_UNKNOWN, text)


def visible(text: str) -> str:
    """Replace what could steer a terminal, turn the direction of writing, or break a line."""
    return "".join(sign if sign.isprintable() else _UNKNOWN for sign in text)


def shortened(text: str, most: int) -> str:
    """Cut the middle out of what is longer than `most` signs: both ends may tell."""
    if len(text) <= most:
        return text
    half = (most - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"


def inert(text: str) -> str:
    """Make visible, and break what CI systems take for commands: `::error::`, `##[error]`."""
    return re.sub(r":(?=:)", ": ", visible(text)).replace("##[", "## [")
