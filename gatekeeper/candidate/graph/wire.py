"""Protobuf's wire format, read with bounds and without protobuf: tags, numbers, pieces of bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WIDTHS = {FIXED64: 8, FIXED32: 4}
_MOST_FIELDS = 2_000_000
# Outermost fields of an ONNX model -> how each is written.
_OUTERMOST = {1: VARINT, 5: VARINT} | dict.fromkeys((2, 3, 4, 6, 7, 8, 14, 20, 25, 26), BYTES)
_GRAPH = 7
_MOST_LOOKED_AT = 500


class WireError(Exception):
    """The bytes are no protobuf message, or are cut off."""


class Budget:
    """How many fields one file may still have, over all of its messages."""

    def __init__(self, left: int = _MOST_FIELDS) -> None:
        """Begin with the whole budget."""
        self.left = left

    def spend(self, count: int = 1) -> None:
        """Count fields, or numbers packed into one.

        Raises:
            WireError: there are more than any network needs.
        """
        self.left -= count
        if self.left < 0:
            message = f"it has more than {_MOST_FIELDS:,} fields"
            raise WireError(message)


def fields(data: memoryview, budget: Budget) -> Iterator[tuple[int, int, int | memoryview]]:
    """Give number, wire type and value of each field; pieces are views, nothing is copied.

    Raises:
        WireError: with what is wrong.
    """
    place, end = 0, len(data)
    while place < end:
        budget.spend()
        tag, place = varint(data, place)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, place = varint(data, place)
            yield number, kind, value
            continue
        if kind == BYTES:
            length, place = varint(data, place)
        elif kind in _WIDTHS:
            length = _WIDTHS[kind]
        else:
            message = f"field {number} has the unknown wire type {kind}"
            raise WireError(message)
        if number == 0 or length > end - place:
            message = f"field {number} is cut off: {length:,} bytes, {end - place:,} are left"
            raise WireError(message)
        yield number, kind, data[place : place + length]
        place += length


def varint(data: memoryview | bytes, place: int) -> tuple[int, int]:
    """Read an unsigned number of up to 64 bits; give it and where the next field begins."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            message = "it is cut off within a number"
            raise WireError(message)
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & ((1 << 64) - 1), place
    message = "a number has more than ten bytes"
    raise WireError(message)


def varints(data: memoryview, budget: Budget) -> Iterator[int]:
    """Give the numbers that are packed into one field."""
    place = 0
    while place < len(data):
        budget.spend()
        value, place = varint(data, place)
        yield value


def signed(value: int) -> int:
    """Read a number of 64 bits as protobuf's int64 and int32 are meant."""
    return value - (1 << 64) if value >> 63 else value


def looks_like_onnx(stream: BinaryIO, size: int) -> bool:
    """Tell by the outermost fields whether this is an ONNX model, whole or cut off.

    Every field is one that a model has, of its type, and a graph is among them.
    """
    place, graph = 0, False
    for _ in range(_MOST_LOOKED_AT):
        stream.seek(place)
        head = stream.read(20)
        if not head:
            return graph
        try:
            tag, used = varint(head, 0)
            number, kind = tag >> 3, tag & 7
            if _OUTERMOST.get(number) != kind:
                return False
            value, used = varint(head, used)
        except WireError:
            return graph and place + len(head) == size
        graph = graph or number == _GRAPH
        place += used + (value if kind == BYTES else 0)
        if place > size:
            return graph and value < 1 << 32
    return graph
