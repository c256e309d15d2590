"""Looks at a numpy array: does its length fit its header, and is what follows that a pickle?"""

from __future__ import annotations

from typing import BinaryIO

from gatekeeper.candidate import npy
from gatekeeper.candidate.kinds import UNREADABLE
from gatekeeper.candidate.seen import Seen
from gatekeeper.candidate.standins import DTYPES
from gatekeeper.candidate.walks import walk_all


def look_at_array(stream: BinaryIO, seen: Seen) -> None:
    """Look at a file that is one array."""
    size = stream.seek(0, 2)
    look_at_array_member(stream, seen, "", 0, size, size=size)


def look_at_array_member(
    stream: BinaryIO, seen: Seen, member: str, start: int, end: int, *, size: int | None
) -> None:
    """Walk what follows an array's header: objects are pickled there.

    Args:
        stream: where it stands.
        seen: takes what is found.
        member: its name, "" for a whole file.
        start: of the array, in bytes.
        end: where its bytes end.
        size: the bytes of the whole array; None where it may have been cut short by a bound of
            ours or by damage, which is no lie of its header.
    """
    stream.seek(start)
    where = f"member {member!r}" if member else "the array"
    objects = False
    try:
        header = npy.read_header(stream.read(min(npy.MOST_HEADER + 12, end - start)))
        place = header.start
        wanted = header.elements * DTYPES[header.dtype][1]
        if size is not None and size - place != wanted:
            message = f"{where} has {size - place:,} bytes of numbers, its header says"
            message = f"{message} {header.elements:,} numbers"
            seen.add("malformed-tensor", "critical", message, member, None)
    except npy.NpyError as error:
        seen.refuse(f"{where} cannot be read: {error}", UNREADABLE["npy"][1])
        place, objects = error.start, error.objects
    walk_all(
        stream, seen, member, start=start + place, end=end, origin=start, certain=objects,
        objects=objects,
    )  # fmt: skip
