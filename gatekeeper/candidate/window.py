"""A part of a file as a stream of its own, without a copy."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class _Part(io.RawIOBase):
    def __init__(self, stream: BinaryIO, start: int, end: int) -> None:
        self._stream, self._start, self._size = stream, start, end - start
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        place = offset + (0, self._place, self._size)[whence]
        if place < 0:
            message = "a place before the beginning"
            raise ValueError(message)
        self._place = place
        return place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: WriteableBuffer) -> int:
        # Others read from the same file meanwhile.
        self._stream.seek(self._start + self._place)
        into = memoryview(buffer).cast("B")
        data = self._stream.read(min(len(into), max(0, self._size - self._place)))
        into[: len(data)] = data
        self._place += len(data)
        return len(data)


def window(stream: BinaryIO, start: int, end: int) -> BinaryIO:
    """Give bytes `start` to `end` of a file."""
    return io.BufferedReader(_Part(stream, start, end))
