"""Operators on shapes: numbers that a graph computes from the sizes of its tensors.

A shape is a Python list, one length of it a plain number, so that they stay what they are for
tracing and exporting: sizes, never tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

Numbers = Any  # a number, or a list of them

_MOST = 1_000
_LARGEST = 1 << 53
_INT64, _INT32, _FLOAT32, _FLOAT64 = 7, 6, 1, 11


def shape(x: Tensor | list[Any], *, start: int = 0, end: int | None = None) -> Numbers:
    """Sizes of a tensor, or how many numbers a shape has."""
    return ([len(x)] if isinstance(x, list) else list(x.shape))[start:end]


def gather(data: Numbers, index: Numbers, *, axis: int = 0) -> Numbers:
    """Some lengths of a shape, or one."""
    return [data[i] for i in index] if isinstance(index, list) else data[index]


def slice_(
    data: Numbers, starts: Numbers, ends: Numbers, axes: Numbers = None, steps: Numbers = None
) -> Numbers:
    """A part of a shape."""
    (start,), (end,), (step,) = starts, ends, steps or [1]
    return data[start:end:step]


def concat(*parts: Numbers, axis: int) -> Numbers:
    """One shape of several."""
    return _bounded([number for part in parts for number in part])


def unsqueeze(data: Numbers, axes: Numbers = None) -> Numbers:
    """A shape of one number."""
    return data if isinstance(data, list) else [data]


def squeeze(data: Numbers, axes: Numbers = None) -> Numbers:
    """The one number of a shape."""
    if not isinstance(data, list):
        return data
    (number,) = data
    return number


def reshape(data: Numbers, wanted: Numbers, *, allowzero: int = 0) -> Numbers:
    """The same numbers, in a list or alone."""
    return squeeze(data) if wanted == [] else unsqueeze(data)


def cast(data: Numbers, *, to: int) -> Numbers:
    """Numbers of another type."""
    kind = {_INT64: int, _INT32: int, _FLOAT32: float, _FLOAT64: float}[to]
    if kind is float:
        return [number * 1.0 for number in data] if isinstance(data, list) else data * 1.0
    return _each(lambda number: int(number) if isinstance(number, float) else number)(data)


def constant_of_shape(wanted: Numbers, *, value: float = 0.0) -> Numbers:
    """A shape of as many equal numbers."""
    (count,) = wanted
    if not 0 <= count <= _MOST:
        message = f"{count} numbers"
        raise ValueError(message)
    return [value] * count


def _each(function: Callable[..., Any]) -> Callable[..., Numbers]:
    """Let `function` of numbers serve on shapes, as broadcasting would."""

    def over(*given: Numbers) -> Numbers:
        lengths = {len(one) for one in given if isinstance(one, list)} - {1}
        if not any(isinstance(one, list) for one in given):
            return _bounded([function(*given)])[0]
        count = lengths.pop() if lengths else 1
        columns = [_stretched(one, count) for one in given]
        return _bounded([function(*numbers) for numbers in zip(*columns, strict=True)])

    return over


def _stretched(one: Numbers, count: int) -> list[Any]:
    if not isinstance(one, list):
        return [one] * count
    return one * count if len(one) == 1 else one


def _bounded(numbers: list[Any]) -> list[Any]:
    """Hostile graphs square a number a thousand times."""
    if len(numbers) > _MOST or any(
        type(number) in (int, float) and not abs(number) <= _LARGEST for number in numbers
    ):
        message = "it computes numbers that no size has"
        raise ValueError(message)
    return numbers


def _divide(a: Any, b: Any) -> Any:
    return a / b if isinstance(a, float) or isinstance(b, float) else a // b


NUMBERS: dict[str, Callable[..., Numbers]] = {
    "Gather": gather, "Slice": slice_, "Concat": concat, "Unsqueeze": unsqueeze,
    "Squeeze": squeeze, "Reshape": reshape, "Cast": cast, "ConstantOfShape": constant_of_shape,
    "Add": _each(lambda a, b: a + b), "Sub": _each(lambda a, b: a - b),
    "Mul": _each(lambda a, b: a * b), "Div": _each(_divide), "Mod": _each(lambda a, b: a % b),
    "Equal": _each(lambda a, b: a == b), "Where": _each(lambda c, a, b: a if c else b),
    "Sqrt": _each(math.sqrt), "Neg": _each(lambda a: -a),
}  # fmt: skip
