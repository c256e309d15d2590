"""Reads pickle opcodes as the unpickler in C does, which loaders use.

`pickletools` is stricter: `p00`, `I0x10` or a zero byte in a number end its reading, and hide from
it all that the unpickler goes on to do.
"""

from __future__ import annotations

import codecs
import pickletools
import re
from collections.abc import Callable, Iterator
from typing import Any, Protocol, cast

_BY_CODE = {opcode.code: opcode for opcode in pickletools.opcodes}
_PLAIN_NUMBER = re.compile(rb"(0|-?[1-9][0-9]{0,18})L?\Z")
_NUMBER = re.compile(rb"\s*[+-]?[0-9]|\0")


class FrameError(ValueError):
    """A frame ends inside of an opcode, holds another frame, or goes on after STOP.

    By the kind of its stream, the unpickler drops what is left of such a frame or goes on in it:
    the same bytes are two programs. No pickler writes them.
    """

    def __init__(self, place: int) -> None:
        """Keep the place of the opcode."""
        super().__init__("a frame that does not end between opcodes")
        self.place = place


class Source(Protocol):
    """What opcodes are read from; `readline` refuses a line without end."""

    def read(self, size: int, /) -> bytes:
        """Give at most `size` bytes."""

    def readline(self) -> bytes:
        """Give a line with its end."""

    def tell(self) -> int:
        """Say how many bytes were read."""


def opcodes(source: Source) -> Iterator[tuple[pickletools.OpcodeInfo, object, int]]:
    """Give each opcode up to STOP, its argument, and where it stands.

    Raises:
        FrameError: the opcodes cannot be told from those of another reading.
        ValueError: what stands there is no opcode, or its argument is cut off or malformed.
    """
    frame_end = 0
    while True:
        place = source.tell()
        code = source.read(1).decode("latin-1")
        opcode = _BY_CODE.get(code)
        if opcode is None:
            what = f"{code!r} is no opcode" if code else "the end is missing"
            message = f"{what}, at byte {place}"
            raise ValueError(message)
        argument, trouble = _argument(opcode, source)
        here = source.tell()
        if place < frame_end < here or (here < frame_end and opcode.name in ("FRAME", "STOP")):
            raise FrameError(place)
        if trouble is not None:
            raise trouble
        if opcode.name == "FRAME":
            frame_end = here + cast(int, argument)
        yield opcode, argument, place
        if opcode.name == "STOP":
            return


def _argument(opcode: pickletools.OpcodeInfo, source: Source) -> tuple[object, ValueError | None]:
    reader: Any = _READERS.get(opcode.name) or (opcode.arg and opcode.arg.reader)
    try:
        return reader(source) if reader else None, None
    except ValueError as error:
        return None, error


def _line(source: Source) -> bytes:
    return source.readline()[:-1]


def _number(source: Source) -> int | None:
    """Accept what C does, such as hexadecimal; give the value where savers write it so."""
    line = _line(source)
    if not _NUMBER.match(line):
        message = f"{line[:40]!r} is no number"
        raise ValueError(message)
    if line in (b"00", b"01"):
        return line == b"01"
    return int(line.rstrip(b"L")) if _PLAIN_NUMBER.match(line) else None


def _decimal(source: Source) -> int:
    return int(_line(source).partition(b"\0")[0])


def _float(source: Source) -> float:
    return float(_line(source).partition(b"\0")[0])


def _quoted(source: Source) -> str:
    line = _line(source)
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b"'", b'"'):
        message = "a text without quotes"
        raise ValueError(message)
    return codecs.escape_decode(line[1:-1])[0].decode("latin-1")


def _import(source: Source) -> str:
    """Module and name, a line each; neither knows escapes."""
    return f"{_line(source).decode()}\n{_line(source).decode()}"


_READERS: dict[str, Callable[[Source], object]] = {
    "INT": _number, "LONG": _number, "FLOAT": _float, "PUT": _decimal, "GET": _decimal,
    "STRING": _quoted, "GLOBAL": _import, "INST": _import,
}  # fmt: skip
