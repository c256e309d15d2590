"""The safetensors format: its header checked as if an enemy had written it."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

_WIDTHS = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4,
    "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
_MOST_HEADER = 100_000_000
_MOST_DEPTH = 8
Tensors = dict[str, tuple[str, tuple[int, ...]]]


class SafetensorsError(Exception):
    """The header is not what the format asks for."""


def check(stream: BinaryIO) -> Tensors:
    """Check the whole header; give each tensor's type and shape.

    Raises:
        SafetensorsError: with what is wrong.
    """
    size = stream.seek(0, 2)
    stream.seek(0)
    length = int.from_bytes(stream.read(8), "little")
    if size < 8 or length > min(_MOST_HEADER, size - 8):
        message = f"the header says it has {length:,} bytes, the file {size:,}"
        raise SafetensorsError(message)
    header = _parse(stream.read(length))
    header.pop("__metadata__", None)
    spans = sorted(_span(name, entry) for name, entry in header.items())
    place = 0
    for start, end, name in spans:
        if start != place:
            message = f"tensor {name!r} overlaps another, or leaves a gap"
            raise SafetensorsError(message)
        place = end
    if place != size - 8 - length:
        message = f"the tensors take {place:,} bytes, the file holds {size - 8 - length:,}"
        raise SafetensorsError(message)
    return {name: (entry["dtype"], tuple(entry["shape"])) for name, entry in header.items()}


def _parse(text: bytes) -> dict[str, Any]:
    depth = deepest = 0
    for sign in text if len(text) < 1_000_000 else b"":
        depth += (sign in b"{[") - (sign in b"}]")
        deepest = max(deepest, depth)
    if deepest > _MOST_DEPTH:
        message = "the header is nested too deep"
        raise SafetensorsError(message)
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_no_twins)
    except (ValueError, RecursionError) as error:
        message = f"the header is not JSON: {error}"
        raise SafetensorsError(message) from None
    if not isinstance(header, dict):
        message = "the header is not a JSON object"
        raise SafetensorsError(message)
    return header


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        message = "a key stands twice"
        raise ValueError(message)
    return found


def _span(name: str, entry: Any) -> tuple[int, int, str]:
    fields = entry if isinstance(entry, dict) else {}
    wanted: list[Any] = [fields.get(key) for key in ("dtype", "shape", "data_offsets")]
    dtype, shape, offsets = wanted
    if dtype not in _WIDTHS or not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        message = f"tensor {name[:80]!r} has dtype {dtype!r}, shape {shape!r}, offsets {offsets!r}"
        raise SafetensorsError(message)
    total = _WIDTHS[dtype]
    for length in shape:
        total *= length
    if offsets[1] - offsets[0] != total:
        message = f"tensor {name[:80]!r} of shape {shape} does not fit its offsets {offsets}"
        raise SafetensorsError(message)
    return offsets[0], offsets[1], name


def _naturals(values: Any) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 1 << 62 for v in values)
