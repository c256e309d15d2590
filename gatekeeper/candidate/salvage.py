"""What a damaged zip archive still holds, found by its local headers alone.

A file that torch cannot load may hold a payload all the same, and is blocked for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from gatekeeper.candidate.archive import LOCAL, MAGIC, MOST_MEMBERS, Member

_CHUNK = 1 << 16
_GROWTH, _FREE_GROWTH = 16, 4096  # how far pickles inflate at most, more or less


def salvaged(stream: BinaryIO) -> Iterator[Member]:
    """Give each member up to where the next one begins; sizes are bounds, checksums unknown."""
    size = stream.seek(0, 2)
    place = _find(stream, 0)
    for _ in range(MOST_MEMBERS):
        if place < 0:
            return
        after = _find(stream, place + len(MAGIC))
        member = _member(stream, place, after if after >= 0 else size)
        if member is not None:
            yield member
        place = after


def _find(stream: BinaryIO, start: int) -> int:
    """Find the next local header at or after `start`; -1 where there is none."""
    while True:
        stream.seek(start)
        piece = stream.read(_CHUNK)
        if (found := piece.find(MAGIC)) >= 0:
            return start + found
        if len(piece) < _CHUNK:
            return -1
        # A header may stand across the border of two pieces.
        start += _CHUNK - len(MAGIC) + 1


def _member(stream: BinaryIO, place: int, end: int) -> Member | None:
    stream.seek(place)
    header = stream.read(LOCAL.size)
    if len(header) < LOCAL.size:
        return None
    fields = LOCAL.unpack(header)
    name = stream.read(fields[9]).decode("utf-8", "replace")
    start = place + LOCAL.size + fields[9] + fields[10]
    stored, deflated = max(0, end - start), fields[3] == 8
    size = _GROWTH * stored + _FREE_GROWTH if deflated else stored
    return Member(name=name, start=start, stored=stored, size=size, crc=0, deflated=deflated)
