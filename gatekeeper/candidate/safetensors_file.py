"""The safetensors format: its header checked as if an enemy had written it."""

from __future__ import annotations

import json
from reprlib import repr  # bounded
from typing import Any, BinaryIO

_WIDTHS = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4,
    "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
# Types that the format's own writer writes, and no reader here knows.
_UNREAD = frozenset(
    {"C64", "F4", "F6_E2M3", "F6_E3M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"}
)  # fmt: skip
_MOST_HEADER = 25_000_000  # a quarter of what the format allows: some 100,000 tensors
_MOST_OBJECTS = 200_000  # one a tensor: more of them would take a gigabyte before they are refused
_MOST_DIMENSIONS = 64
Tensors = dict[str, tuple[str, tuple[int, ...]]]


class SafetensorsError(Exception):
    """The header is not what the format asks for."""


class UnreadTypeError(SafetensorsError):
    """The header is right, but the gate does not read such numbers."""


def check(stream: BinaryIO) -> Tensors:
    """Check the whole header; give each tensor's type and shape.

    Raises:
        SafetensorsError: with what is wrong.
        UnreadTypeError: nothing is, but the numbers are of a type that the gate does not read.
    """
    size = stream.seek(0, 2)
    stream.seek(0)
    length = int.from_bytes(stream.read(8), "little")
    if size < 8 or length > size - 8:
        message = (
            f"the header says it has {length:,} bytes, and so reaches beyond the end of the file, "
            f"which has {size:,}"
        )
        raise SafetensorsError(message)
    if length > _MOST_HEADER:
        message = f"the header has {length:,} bytes, more than {_MOST_HEADER:,}"
        raise SafetensorsError(message)
    header = _parse(stream.read(length))
    _check_metadata(header.pop("__metadata__", {}))
    _check_spans(header, size - 8 - length)
    return {name: (entry["dtype"], tuple(entry["shape"])) for name, entry in header.items()}


def _check_metadata(metadata: Any) -> None:
    values = metadata.values() if isinstance(metadata, dict) else [None]
    if not all(isinstance(value, str) for value in values):
        message = "the metadata is not a mapping of texts to texts"
        raise SafetensorsError(message)


def _check_spans(header: dict[str, Any], held: int) -> None:
    """Check that the tensors stand one after the other, and fill the file."""
    place = 0
    for start, end, name in sorted(_span(name, entry) for name, entry in header.items()):
        told = f"tensor {name[:80]!r}"
        if end > held:
            message = f"{told} ends at byte {end:,}, the file holds {held:,}"
            raise SafetensorsError(message)
        if start != place:
            what = "overlaps another" if start < place else "leaves a gap before it"
            message = f"{told} {what}"
            raise SafetensorsError(message)
        place = end
    if place != held:
        message = f"{held - place:,} bytes follow the last tensor"
        raise SafetensorsError(message)


def _parse(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_Objects())
    except RecursionError:
        message = "the header is nested too deep"
        raise SafetensorsError(message) from None
    except ValueError as error:
        message = f"the header is not JSON: {error}"
        raise SafetensorsError(message) from None
    if not isinstance(header, dict):
        message = "the header is not a JSON object"
        raise SafetensorsError(message)
    return header


class _Objects:
    """Makes the objects of a header, without twins and not too many."""

    def __init__(self) -> None:
        self.left = _MOST_OBJECTS

    def __call__(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        self.left -= 1
        found = dict(pairs)
        if len(found) != len(pairs) or self.left < 0:
            message = "a key stands twice" if self.left >= 0 else "too many objects"
            raise ValueError(message)
        return found


def _span(name: str, entry: Any) -> tuple[int, int, str]:
    fields = entry if isinstance(entry, dict) else {}
    wanted: list[Any] = [fields.get(key) for key in ("dtype", "shape", "data_offsets")]
    dtype, shape, offsets = wanted
    known = isinstance(dtype, str) and (dtype in _WIDTHS or dtype in _UNREAD)
    natural = _naturals(shape) and _naturals(offsets)
    if not known or not natural or len(offsets) != 2 or len(shape) > _MOST_DIMENSIONS:
        message = (
            f"tensor {name[:80]!r} has dtype {repr(dtype)}, shape {repr(shape)}, "
            f"offsets {repr(offsets)}"
        )
        raise SafetensorsError(message)
    if dtype in _UNREAD:
        message = (
            f"tensor {name[:80]!r} holds numbers of type {dtype}, which the gate does not read"
        )
        raise UnreadTypeError(message)
    total = _WIDTHS[dtype]
    for length in shape:
        total *= length
    if offsets[1] - offsets[0] != total:
        message = f"tensor {name[:80]!r} of shape {repr(shape)} does not fit its offsets {offsets}"
        raise SafetensorsError(message)
    return offsets[0], offsets[1], name


def _naturals(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 1 << 62 for v in values)
