"""Operators that order, cut and join tensors, by ONNX's names for what they take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Ints = Sequence[int]


def reshape(x: Tensor, shape: Sequence[int | None], *, allowzero: int = 0) -> Tensor:
    """Give another shape; None, and 0 where it is allowed, stand for the same length as before."""
    wanted: list[Any] = list(shape)
    for place, length in enumerate(wanted):
        if length is None or (isinstance(length, int) and length == 0 and not allowzero):
            wanted[place] = x.shape[place]
    return x.reshape(wanted)


def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    """Make a matrix: axes before `axis`, and the rest."""
    if axis == 1:
        return x.flatten(1)
    return x.reshape(1, -1) if axis == 0 else x.flatten(0, axis - 1).flatten(1)


def transpose(x: Tensor, *, perm: Ints | None = None) -> Tensor:
    """Order the axes anew."""
    return x.permute(*(perm or range(x.dim())[::-1]))


def squeeze(x: Tensor, given: Ints | None = None, *, axes: Ints | None = None) -> Tensor:
    """Leave out axes of length one."""
    wanted = given if axes is None else axes
    return x.squeeze() if wanted is None else x.squeeze(tuple(wanted))


def unsqueeze(x: Tensor, given: Ints | None = None, *, axes: Ints | None = None) -> Tensor:
    """Put in axes of length one."""
    wanted = list((given if axes is None else axes) or [])
    rank = x.dim() + len(wanted)
    for axis in sorted(axis % rank for axis in wanted):
        x = x.unsqueeze(axis)
    return x


def concat(*parts: Tensor, axis: int) -> Tensor:
    """Join along one axis; what was baked in for one image serves for each of a batch."""
    whole = list(parts)
    if axis != 0 and whole[0].dim() > 1:
        batch = next((part.shape[0] for part in whole if part.shape[0] != 1), 1)
        whole = [p.expand(batch, *p.shape[1:]) if p.shape[0] == 1 else p for p in whole]
    return torch.cat(whole, dim=axis)


def slice_(
    x: Tensor, given: Ints | None = None, until: Ints | None = None, along: Ints | None = None,
    by: Ints | None = None, *, starts: Ints | None = None, ends: Ints | None = None,
    axes: Ints | None = None,
) -> Tensor:  # fmt: skip
    """Cut a part out, by inputs or, in old files, by attributes."""
    begins, stops = (given, until) if starts is None else (starts, ends)
    where = along if axes is None else axes
    begins, stops = list(begins or []), list(stops or [])
    whole: Tensor = x
    for axis, begin, stop, step in zip(
        where or range(len(begins)), begins, stops, by or [1] * len(begins), strict=True
    ):
        if step < 1:
            message = "a slice goes backwards"
            raise ValueError(message)
        index: list[Any] = [slice(None)] * whole.dim()
        index[axis] = slice(begin, stop, step)
        whole = whole[tuple(index)]
    return whole


def gather(x: Tensor, index: Any, *, axis: int = 0) -> Tensor:
    """Take some of the slices along one axis."""
    if isinstance(index, int):
        return x.select(axis, index)
    where = torch.as_tensor(index, device=x.device)
    taken: Tensor = x.index_select(axis, where.flatten() % x.shape[axis])
    return taken.unflatten(axis, where.shape) if where.dim() != 1 else taken


def split(
    x: Tensor, sizes: Ints | None = None, *, which: int, count: int, axis: int = 0,
    split: Ints | None = None, num_outputs: int | None = None,
) -> Tensor:  # fmt: skip
    """Give part `which` of `count` along one axis."""
    lengths = sizes if split is None else split
    each = -(-x.shape[axis] // (num_outputs or count))
    parts = x.split(list(lengths) if lengths is not None else each, dim=axis)
    if len(parts) != count:
        message = f"{len(parts)} parts, {count} are taken"
        raise ValueError(message)
    part: Tensor = parts[which]
    return part


def expand(x: Tensor, shape: Ints) -> Tensor:
    """Repeat along axes of length one; 1 in `shape` leaves an axis as it is."""
    wanted = list(shape)
    wanted = [1] * (x.dim() - len(wanted)) + wanted
    own = [1] * (len(wanted) - x.dim()) + list(x.shape)
    sizes = [o if isinstance(w, int) and w == 1 else w for o, w in zip(own, wanted, strict=True)]
    return x.expand(sizes)


def pad(
    x: Tensor, given: Ints | None = None, fill: Any = None, axes: Ints | None = None, *,
    mode: str = "constant", pads: Ints | None = None, value: float = 0.0,
) -> Tensor:  # fmt: skip
    """Put numbers around; ONNX tells all beginnings, then all ends, torch pairs from behind."""
    both = list((given if pads is None else pads) or [])
    where = [axis % x.dim() for axis in (axes or range(x.dim()))]
    half = len(both) // 2
    at = {axis: (both[place], both[half + place]) for place, axis in enumerate(where)}
    pairs = [n for axis in reversed(range(x.dim())) for n in at.get(axis, (0, 0))]
    number = value if fill is None else float(fill)
    if mode == "constant":
        return F.pad(x, pairs, value=number)
    while pairs[-2:] == [0, 0]:
        pairs = pairs[:-2]
    return F.pad(x, pairs, mode={"reflect": "reflect", "edge": "replicate"}[mode])
