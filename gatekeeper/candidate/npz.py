"""Reads what numpy.savez wrote, names to arrays: only in the quarantine child."""

from __future__ import annotations

import mmap
from typing import Any, BinaryIO

import numpy as np

from gatekeeper.candidate.archive import Member, read_archive
from gatekeeper.candidate.npy import MOST_HEADER, Npy, NpyError, read_header
from gatekeeper.candidate.standins import (
    DTYPES,
    MalformedError,
    Storage,
    TensorView,
    UnsupportedError,
)
from gatekeeper.candidate.torchfile import member_bytes

SUFFIX = ".npy"


def read_npz(stream: BinaryIO, mapped: mmap.mmap) -> tuple[dict[str, TensorView], bool]:
    """Read every array; numbers of the other byte order are turned here already.

    Raises:
        MalformedError: an array has another size than its member.
        UnsupportedError: a member is no array of numbers, or stands there twice.
    """
    tensors: dict[str, TensorView] = {}
    for member in read_archive(stream).members:
        name = member.name.removesuffix(SUFFIX)
        if name == member.name or name in tensors:
            message = f"member {member.name!r} is no array, or stands there twice"
            raise UnsupportedError(message)
        tensors[name] = _tensor(name, member_bytes(stream, mapped, member), member)
    return tensors, False


def _tensor(name: str, data: memoryview, member: Member) -> TensorView:
    try:
        header = read_header(bytes(data[: MOST_HEADER + 12]))
    except NpyError as error:
        message = f"member {member.name!r} cannot be read: {error}"
        raise UnsupportedError(message) from None
    numbers = data[header.start :]
    width = DTYPES[header.dtype][1]
    if len(numbers) != header.elements * width:
        message = (
            f"member {member.name!r} has {len(numbers):,} bytes of numbers, its header says "
            f"{header.elements:,} times {width}"
        )
        raise MalformedError(message)
    if header.big_endian and len(numbers):
        turned: Any = np.frombuffer(numbers, f"u{width}").byteswap()
        numbers = memoryview(turned).cast("B")
    storage = Storage(header.dtype, name, header.elements, numbers)
    return TensorView(storage, header.dtype, 0, header.shape, _strides(header))


def _strides(header: Npy) -> tuple[int, ...]:
    """Elements between neighbours along each dimension."""
    lengths = header.shape if header.fortran else header.shape[::-1]
    strides, step = [], 1
    for length in lengths:
        strides.append(step)
        step *= length
    return tuple(strides if header.fortran else strides[::-1])
