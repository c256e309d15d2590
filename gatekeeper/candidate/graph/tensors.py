"""Tensors of an ONNX file, each checked against the bytes that it came with."""

from __future__ import annotations

from gatekeeper.candidate.graph.proto import Message
from gatekeeper.candidate.standins import (
    DTYPES,
    MalformedError,
    Storage,
    TensorView,
    UnsupportedError,
)

# ONNX's number -> torch's name, and the field that holds such numbers where no raw bytes do.
_TYPES = {
    1: ("float32", "float_data"), 2: ("uint8", "int32_data"), 3: ("int8", "int32_data"),
    4: ("uint16", "int32_data"), 5: ("int16", "int32_data"), 6: ("int32", "int32_data"),
    7: ("int64", "int64_data"), 9: ("bool", "int32_data"), 10: ("float16", "int32_data"),
    11: ("float64", "double_data"), 12: ("uint32", "uint64_data"), 13: ("uint64", "uint64_data"),
    16: ("bfloat16", "int32_data"), 17: ("float8_e4m3fn", "int32_data"),
    19: ("float8_e5m2", "int32_data"),
}  # fmt: skip
_OTHERS = {8: "texts", 14: "complex numbers", 15: "complex numbers", 21: "numbers of four bits",
           22: "numbers of four bits", 23: "numbers of four bits"}  # fmt: skip
_SOURCES = ("raw_data", "float_data", "int32_data", "string_data", "int64_data", "double_data",
            "uint64_data")  # fmt: skip
_MOST_DIMENSIONS = 64


def told(tensor: Message) -> str:
    """Name a tensor in a message."""
    return f"tensor {tensor.get('name', '')[:80]!r}"


def check(tensor: Message) -> None:
    """Refuse dimensions and types that no tensor has, and bytes that do not fit them.

    Raises:
        MalformedError: it lies about its shape.
    """
    dims, number = tensor.get("dims", []), tensor.get("data_type", 0)
    if any(length < 0 for length in dims) or len(dims) > _MOST_DIMENSIONS:
        message = f"{told(tensor)} has the shape {str(dims[:8])[:80]}"
        raise MalformedError(message)
    sources = [name for name in _SOURCES if tensor.get(name)]
    if len(sources) > 1 or (sources and sources[0] not in ("raw_data", _field(number))):
        message = f"{told(tensor)} of type {number} keeps its numbers in {' and '.join(sources)}"
        raise MalformedError(message)
    if number not in _TYPES or tensor.get("external_data") or tensor.get("data_location"):
        return
    elements = 1
    for length in dims:
        elements *= length
    held = _held(tensor, number)
    if held != elements * DTYPES[_TYPES[number][0]][1]:
        message = f"{told(tensor)} of shape {str(dims)[:80]} comes with {held:,} bytes"
        raise MalformedError(message)


def view(tensor: Message) -> TensorView:
    """Give a tensor that was checked as a view of its bytes.

    Raises:
        UnsupportedError: it holds what no network computes with.
    """
    number = tensor.get("data_type", 0)
    if number not in _TYPES or tensor.get("segment") is not None:
        message = f"{told(tensor)} holds {_OTHERS.get(number, f'type {number}')}"
        raise UnsupportedError(message)
    dtype = _TYPES[number][0]
    return contiguous(dtype, tuple(tensor.get("dims", [])), _bytes(tensor, number))


def contiguous(dtype: str, size: tuple[int, ...], data: memoryview) -> TensorView:
    """View bytes that were checked as a tensor, row after row."""
    stride, step = [], 1
    for length in reversed(size):
        stride.append(step)
        step *= length
    count = len(data) // DTYPES[dtype][1]
    storage = Storage(dtype=dtype, key="", count=count, data=data)
    return TensorView(storage, dtype, 0, size, tuple(reversed(stride)))


def _field(number: int) -> str:
    return "string_data" if number == 8 else _TYPES.get(number, ("", "float_data"))[1]


def _held(tensor: Message, number: int) -> int:
    """Bytes that the numbers of `tensor` take."""
    dtype, field = _TYPES[number]
    if tensor.get("raw_data") is not None and not tensor.get(field):
        return len(tensor["raw_data"])
    numbers = tensor.get(field, [])
    if field in ("float_data", "double_data"):
        return sum(map(len, numbers))
    return len(numbers) * DTYPES[dtype][1]


def _bytes(tensor: Message, number: int) -> memoryview:
    dtype, field = _TYPES[number]
    numbers = tensor.get(field)
    if not numbers:
        raw = tensor.get("raw_data")
        return memoryview(b"") if raw is None else raw
    if field in ("float_data", "double_data"):
        return memoryview(b"".join(numbers))
    # Sixteen-bit floats and the like stand there as the whole number of their bits.
    width = DTYPES[dtype][1]
    most = (1 << 8 * width) - 1
    return memoryview(b"".join((value & most).to_bytes(width, "little") for value in numbers))
