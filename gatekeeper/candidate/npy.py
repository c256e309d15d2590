"""The header of a numpy array file, read as if an enemy had written it."""

from __future__ import annotations

import ast
import math
import re
from dataclasses import dataclass
from reprlib import repr  # bounded
from typing import Any

MAGIC = b"\x93NUMPY"
MOST_HEADER = 10_000  # characters, as numpy itself bounds it
_PREFIX = len(MAGIC) + 2
# Nothing that nests deep or counts down: `literal_eval` may meet it.
_PLAIN = re.compile(r"[\w\s'\"<>|=,:(){}\[\].]*", re.ASCII)
_MOST_BRACKETS, _MOST_DIMENSIONS = 40, 32
# numpy's kind and bytes of an element -> torch's name
_TYPES = {
    "f8": "float64", "f4": "float32", "f2": "float16", "i8": "int64", "i4": "int32",
    "i2": "int16", "i1": "int8", "u8": "uint64", "u4": "uint32", "u2": "uint16", "u1": "uint8",
    "b1": "bool",
}  # fmt: skip


class NpyError(Exception):
    """This is no array that the gate reads; `objects` where it may be a pickle of objects."""

    def __init__(self, message: str, *, objects: bool = False, start: int = 0) -> None:
        """Keep where the content begins, as far as that is known."""
        super().__init__(message)
        self.objects = objects
        self.start = start


@dataclass(frozen=True, kw_only=True)
class Npy:
    """What the header says; `start` is where the numbers begin, in bytes."""

    dtype: str  # torch's name
    big_endian: bool
    fortran: bool
    shape: tuple[int, ...]
    start: int

    @property
    def elements(self) -> int:
        """How many."""
        return math.prod(self.shape)


def read_header(head: bytes) -> Npy:
    """Read the header of an array whose file begins with `head`, 12 bytes beyond `MOST_HEADER`.

    Raises:
        NpyError: with what is wrong.
    """
    text, start = _text(head)
    if not _PLAIN.fullmatch(text) or sum(text.count(sign) for sign in "([{") > _MOST_BRACKETS:
        message = "the header is not what numpy writes"
        raise NpyError(message, objects=True, start=start)
    try:
        told = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        message = "the header is not what numpy writes"
        raise NpyError(message, objects=True, start=start) from None
    if not isinstance(told, dict) or set(told) != {"descr", "fortran_order", "shape"}:
        message = "the header does not name type, order and shape alone"
        raise NpyError(message, objects=True, start=start)
    return _checked(told["descr"], told["fortran_order"], told["shape"], start)


def _text(head: bytes) -> tuple[str, int]:
    version = tuple(head[len(MAGIC) : _PREFIX])
    if head[: len(MAGIC)] != MAGIC or version not in ((1, 0), (2, 0), (3, 0)):
        message = "it does not begin like a numpy array"
        raise NpyError(message)
    width = 2 if version == (1, 0) else 4
    start = _PREFIX + width
    length = int.from_bytes(head[_PREFIX:start], "little")
    if length > MOST_HEADER or len(head) < start + length:
        message = f"its header says it has {length:,} bytes"
        # numpy reads headers of any length where it may unpickle.
        raise NpyError(message, objects=True, start=start + length)
    return head[start : start + length].decode("latin-1"), start + length


def _checked(descr: Any, fortran: Any, shape: Any, start: int) -> Npy:
    if not isinstance(descr, str) or descr[:1] not in "<>|=" or descr[1:] not in _TYPES:
        # A structured type may have objects among its fields.
        objects = "o" in str(descr).lower()
        what = "Python objects, which are pickled" if objects else f"numbers of type {repr(descr)}"
        message = f"it holds {what}"
        raise NpyError(message, objects=objects, start=start)
    if type(fortran) is not bool or not _is_shape(shape):
        message = f"its header says order {repr(fortran)}, shape {repr(shape)}"
        raise NpyError(message, start=start)
    return Npy(
        dtype=_TYPES[descr[1:]],
        big_endian=descr[0] == ">",
        fortran=fortran,
        shape=shape,
        start=start,
    )


def _is_shape(shape: Any) -> bool:
    whole = isinstance(shape, tuple) and len(shape) <= _MOST_DIMENSIONS
    return whole and all(type(n) is int and 0 <= n < 1 << 60 for n in shape)
