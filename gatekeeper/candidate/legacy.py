"""Where a legacy torch file ends: after its pickles, each storage's count and bytes."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import BinaryIO

from gatekeeper.candidate.standins import DTYPES, STORAGES

PICKLES = 5  # magic, protocol, system, object, storage keys
# Storages that the gate does not read on, but steps over: bytes of an element.
_UNREAD = {
    "ComplexFloatStorage": 8, "ComplexDoubleStorage": 16, "QInt8Storage": 1, "QUInt8Storage": 1,
    "QInt32Storage": 4,
}  # fmt: skip
_COUNT = struct.Struct("<q")


def end_of_storages(
    stream: BinaryIO,
    start: int,
    storages: Mapping[str, tuple[str, int] | None],
    keys: Sequence[str] | None,
) -> int:
    """Give the place after the last storage, in bytes.

    Args:
        stream: the file.
        start: the place after its last pickle.
        storages: as the pickled object declares them, by key: kind, and elements.
        keys: the list that the last pickle holds, which is the order of the storages.

    Raises:
        ValueError: what is declared is not what is there.
    """
    if keys is None or sorted(keys) != sorted(storages):
        message = "the list of storages does not fit the object"
        raise ValueError(message)
    size, place = stream.seek(0, 2), start
    for key in keys:
        kind, count = storages[key] or ("", -1)
        width = DTYPES[STORAGES[kind]][1] if kind in STORAGES else _UNREAD.get(kind)
        if width is None or count < 0:
            message = f"storage {key!r} is declared twice, or is of a kind that nothing here knows"
            raise ValueError(message)
        stream.seek(place)
        head = stream.read(_COUNT.size)
        place += _COUNT.size + count * width
        if place > size or len(head) < _COUNT.size:
            message = "the file is cut off inside of its storages"
            raise ValueError(message)
        if _COUNT.unpack(head)[0] != count:
            message = f"storage {key!r} has another count than it declares"
            raise ValueError(message)
    return place
