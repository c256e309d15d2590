"""What a pickle may give to numpy's constructors: what numpy itself writes for plain arrays.

The names alone are harmless, their arguments need not be: a type of Python objects over foreign
bytes, or a shape that its own check does not know, makes plain `pickle.load` corrupt memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeGuard

_NUMBERS = re.compile(r"(?:[<>=|]?(?:b1|[iu][1248]|f(?:2|4|8|12|16)|c(?:8|16|24|32))|\?)\Z")
_TEXT = re.compile(r"[<>=|]?([SU])(0|[1-9][0-9]{0,5})\Z")
_DATES = ("M8", "m8")
_MOST_AXES = 64
_ROOMS = ("numpy.core.", "numpy._core.")
_DTYPE = "numpy.dtype"
_CLASSES = "numpy.dtypes."
# Of numpy's own types as classes, those of numbers.
NUMBER_CLASSES = frozenset(
    f"{_CLASSES}{kind}DType"
    for kind in (
        "Bool", "Byte", "Short", "Int", "Long", "LongLong", "UByte", "UShort", "UInt", "ULong",
        "ULongLong", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64",
        "Float16", "Float32", "Float64", "LongDouble", "Complex64", "Complex128", "CLongDouble",
    )
)  # fmt: skip


class Nothing:
    """Python's None, where None means that a value is not known."""


NOTHING = Nothing()


@dataclass(frozen=True, eq=False)
class Dtype:
    """A type of numbers, text or objects that was made."""

    maker: object  # the name that made it
    sizes: tuple[int, int, int]  # bytes of an element, alignment and flags, as its state has them
    objects: bool = False
    dates: bool = False


@dataclass(eq=False)
class Array:
    """An empty array that was made, and whether it has got its numbers."""

    maker: object
    filled: bool = False


class OddCallError(Exception):
    """Arguments that numpy would not have written."""


def is_followed(name: str) -> bool:
    """Tell whether the arguments of this name count."""
    return name == _DTYPE or name == "numpy.ndarray" or name.startswith((*_ROOMS, _CLASSES))


def made(name: str, maker: object, words: object) -> Dtype | Array | None:
    """Give what a call of `name` makes; None for what is of no use to any other call.

    Raises:
        OddCallError: numpy writes no such call.
    """
    given = words if isinstance(words, tuple) else (None,)
    leaf = name.rpartition(".")[2]
    if name == _DTYPE:
        return _dtype(maker, given)
    if name in NUMBER_CLASSES and not given:
        return Dtype(maker, (-1, -1, 0))
    if name.startswith(_ROOMS) and leaf == "scalar" and _begins_with_dtype(given):
        return None
    if name.startswith(_ROOMS) and leaf == "_reconstruct" and _is_empty_array(given):
        return Array(maker)
    # Over bytes of its own: an array would still be filled anew beneath the one that is made.
    if name.startswith(_ROOMS) and leaf == "_frombuffer" and _is_over_bytes(given):
        return Array(maker, filled=True)
    raise OddCallError


def set_state(made_before: Dtype | Array, state: object) -> None:
    """Check what BUILD gives to it.

    Raises:
        OddCallError: numpy writes no such state.
    """
    if isinstance(made_before, Dtype):
        _check_dtype(made_before, state)
        return
    version, shape, dtype, order, _ = state if _is_row(state, 5) else [None] * 5
    honest = version == 1 and _is_shape(shape) and isinstance(dtype, Dtype)
    if not honest or type(order) not in (bool, int) or made_before.filled:
        raise OddCallError
    made_before.filled = True


def _dtype(maker: object, given: tuple[object, ...]) -> Dtype:
    name = given[0] if given else None
    flags = given[1:] in ((), (False, True), (False, False))
    if isinstance(name, str) and flags:
        if _NUMBERS.match(name):
            return Dtype(maker, (-1, -1, 0))
        if text := _TEXT.match(name):
            count = int(text[2])
            return Dtype(maker, (4 * count, 4, 8) if text[1] == "U" else (count, 1, 0))
        if name in _DATES:
            return Dtype(maker, (-1, -1, 0), dates=True)
        if name in ("O", "O8"):
            return Dtype(maker, (-1, -1, 63), objects=True)
    raise OddCallError


def _check_dtype(dtype: Dtype, state: object) -> None:
    """Version, byte order, no part, no names, no fields, the sizes of its name; a date's unit."""
    if _is_row(state, 9 if dtype.dates else 8):
        version, order, *parts = state[:5]
        plain = version == (4 if dtype.dates else 3) and order in ("<", ">", "|", "=")
        sized = state[5:8] == dtype.sizes and (not dtype.dates or _is_unit(state[8]))
        if plain and all(part is NOTHING for part in parts) and sized:
            return
    raise OddCallError


def _is_unit(value: object) -> bool:
    """Tell whether this is what numpy keeps of a date's unit: no notes, a name, three numbers."""
    if not _is_row(value, 2) or value[0] is not NOTHING or not _is_row(value[1], 4):
        return False
    name, *numbers = value[1]
    return isinstance(name, bytes) and all(type(number) is int for number in numbers)


def _is_row(value: object, length: int) -> TypeGuard[tuple[object, ...]]:
    return isinstance(value, tuple) and len(value) == length


def _begins_with_dtype(given: tuple[object, ...]) -> bool:
    return 1 <= len(given) <= 2 and _is_plain(given[0])


def _is_plain(dtype: object) -> bool:
    return isinstance(dtype, Dtype) and not dtype.objects


def _is_empty_array(given: tuple[object, ...]) -> bool:
    kind = getattr(given[0], "name", "") if len(given) == 3 else ""
    return kind == "numpy.ndarray" and given[1:] in (((0,), b"b"), ((0,), "b"))


def _is_over_bytes(given: tuple[object, ...]) -> bool:
    over = len(given) in (4, 5) and isinstance(given[0], bytes) and _is_plain(given[1])
    return over and _is_shape(given[2]) and all(_is_shape(axes) for axes in given[4:])


def _is_shape(value: object) -> TypeGuard[tuple[int, ...]]:
    """Tell whether these are lengths; two that are negative would multiply to a good size."""
    return (
        isinstance(value, tuple)
        and len(value) <= _MOST_AXES
        and all(type(length) is int and length >= 0 for length in value)
    )
