"""Finds the state dict in what a checkpoint held, and writes it as safetensors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

import numpy as np

from gatekeeper.candidate.standins import DTYPES, MalformedError, TensorView, UnsupportedError

KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module",
        "params", "weights", "netC", "state_dict_ema", "model_ema", "ema")  # fmt: skip
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
_MOST_TENSORS = 100_000
_CHUNK = 1 << 24


def find_state(loaded: Any, key: str | None) -> tuple[dict[str, TensorView], str | None, str]:
    """Give the tensors, the key they stood under, and the prefix that was taken off.

    Raises:
        UnsupportedError: there is no mapping of names to tensors where one was looked for.
    """
    if not isinstance(loaded, Mapping):
        message = f"the file holds a {type(loaded).__name__}, not a state dict"
        raise UnsupportedError(message)
    if key is not None:
        found = loaded.get(key)
        if not isinstance(found, Mapping) or not _tensors(found):
            message = f"there are no tensors under the card's weights_key {key!r}"
            raise UnsupportedError(message)
        return _named(found, key)
    nested = {str(k): v for k, v in loaded.items() if isinstance(v, Mapping) and _tensors(v)}
    # Beside a state dict, a checkpoint often keeps an accuracy or a random state as a tensor.
    for name in KEYS:
        if name in nested:
            return _named(nested[name], name)
    own = len(_tensors(loaded))
    largest = max(nested, key=lambda name: len(_tensors(nested[name])), default=None)
    if largest is not None and len(_tensors(nested[largest])) > own:
        return _named(nested[largest], largest)
    if own:
        return _named(loaded, None)
    keys = ", ".join(map(str, list(loaded)[:8]))
    message = f"no tensors under any of its keys ({keys})" if keys else "the file holds no tensors"
    raise UnsupportedError(message)


def _named(
    found: Mapping[Any, Any], key: str | None
) -> tuple[dict[str, TensorView], str | None, str]:
    tensors = _tensors(found)
    prefix = common_prefix(tensors)
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items()}, key, prefix


def _tensors(mapping: Mapping[Any, Any]) -> dict[str, TensorView]:
    return {k: v for k, v in mapping.items() if isinstance(k, str) and isinstance(v, TensorView)}


def common_prefix(names: Iterable[str]) -> str:
    """Give what wrappers left before every name: `module._orig_mod.` or the like, "" if nothing."""
    left, taken = list(names), ""
    while left:
        prefix = next((p for p in PREFIXES if all(name.startswith(p) for name in left)), None)
        if prefix is None:
            break
        left = [name[len(prefix) :] for name in left]
        taken += prefix
    return taken


def write_safetensors(
    tensors: dict[str, TensorView], out: BinaryIO, *, swap: bool, most: int
) -> None:
    """Write the tensors, contiguous and little-endian, never more than `most` bytes.

    Raises:
        MalformedError: views of one storage would blow up beyond `most`.
    """
    if len(tensors) > _MOST_TENSORS:
        message = f"{len(tensors):,} tensors"
        raise MalformedError(message)
    header: dict[str, Any] = {}
    place = 0
    for name, tensor in tensors.items():
        if not name or not name.isprintable() or len(name) > 1000:
            message = f"a tensor is called {name[:80]!r}"
            raise UnsupportedError(message)
        kind, width = DTYPES[tensor.dtype]
        end = place + tensor.elements * width
        header[name] = {"dtype": kind, "shape": list(tensor.size), "data_offsets": [place, end]}
        place = end
        if place > most:
            message = f"the tensors would take more than {most:,} bytes"
            raise MalformedError(message)
    text = json.dumps(header, ensure_ascii=True).encode()
    text += b" " * (-len(text) % 8)
    out.write(len(text).to_bytes(8, "little") + text)
    for tensor in tensors.values():
        _write(tensor, out, swap=swap)


def _write(tensor: TensorView, out: BinaryIO, *, swap: bool) -> None:
    if tensor.elements == 0:
        return
    width = DTYPES[tensor.dtype][1]
    # Bytes are moved, never interpreted: an unsigned number of the same width stands for any.
    # numpy checks once more that no element lies outside of the storage.
    strides = tuple(stride * width for stride in tensor.stride)
    start, kind = tensor.offset * width, f"<u{width}"
    view: Any = np.ndarray(tensor.size, kind, tensor.storage.data, start, strides)
    if view.flags.c_contiguous and not swap:
        data = memoryview(view.reshape(-1).view(np.uint8))
        for start in range(0, len(data), _CHUNK):
            out.write(data[start : start + _CHUNK])
        return
    # Piece by piece: a view may be many times as large as what it is a view of.
    pieces: Any = np.nditer(
        view, ["external_loop", "buffered"], order="C", buffersize=_CHUNK // width
    )
    for piece in pieces:
        out.write((piece.byteswap() if swap else piece).tobytes())
