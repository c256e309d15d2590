"""Reads pickle opcodes as the unpickler in C does, which loaders use.

`pickletools` is stricter: `p00`, `I0x10` or a zero byte in a number end its reading, and hide from
it all that the unpickler goes on to do.
"""

from __future__ import annotations

import codecs
import pickle
import pickletools
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Protocol, cast

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
    frame_end, here = 0, source.tell()
    while True:
        place, code = here, source.read(1)
        known = _BY_CODE.get(code)
        if known is None:
            what = f"{code.decode('latin-1')!r} is no opcode" if code else "the end is missing"
            message = f"{what}, at byte {place}"
            raise ValueError(message)
        opcode, reader, frames = known
        argument, trouble = None, None
        if reader is not None:
            try:
                argument = reader(source)
            except ValueError as error:
                trouble = error
        here = source.tell()
        if place < frame_end and (frame_end < here or (frames and here < frame_end)):
            raise FrameError(place)
        if trouble is not None:
            raise trouble
        yield opcode, argument, place
        if frames:
            if code == _STOP:
                return
            frame_end = here + cast(int, argument)


def _line(source: Source) -> bytes:
    line = source.readline()
    if not line.endswith(b"\n"):
        message = "a line without end"
        raise ValueError(message)
    return line[:-1]


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
    with warnings.catch_warnings():
        # Bytes that only look like an escape are undone as well.
        warnings.simplefilter("ignore", DeprecationWarning)
        return codecs.escape_decode(line[1:-1])[0].decode("latin-1")


def _import(source: Source) -> str:
    """Module and name, a line each; neither knows escapes."""
    return f"{_line(source).decode()}\n{_line(source).decode()}"


def _protocol(source: Source) -> int:
    """Refuse what C refuses; many equal numbers would read as endless versions."""
    version = pickletools.read_uint1(cast(Any, source))
    if version > pickle.HIGHEST_PROTOCOL:
        message = f"protocol {version}"
        raise ValueError(message)
    return version


_READERS: dict[str, Callable[[Source], object]] = {
    "INT": _number, "LONG": _number, "FLOAT": _float, "PUT": _decimal, "GET": _decimal,
    "STRING": _quoted, "GLOBAL": _import, "INST": _import,
    "PROTO": _protocol,
}  # fmt: skip
_STOP = b"."
# By its byte: the opcode, what reads its argument, and whether frames begin or end with it.
_BY_CODE: dict[bytes, tuple[pickletools.OpcodeInfo, Callable[[Any], object] | None, bool]] = {
    opcode.code.encode("latin-1"): (
        opcode,
        _READERS.get(opcode.name) or (opcode.arg.reader if opcode.arg else None),
        opcode.name in ("FRAME", "STOP"),
    )
    for opcode in pickletools.opcodes
}
# What a pickle may begin with: all else finds nothing on the stack, where every unpickler ends.
BEGINNINGS = frozenset(code for code, (opcode, *_) in _BY_CODE.items() if not opcode.stack_before)
