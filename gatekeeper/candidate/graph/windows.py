"""Pooling over windows, and the padding that it and convolutions share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

Ints = Sequence[int]


def max_pool(x: Tensor, **words: Any) -> Tensor:
    """Maximum over windows."""
    padded, words = _window(x, words, float("-inf"))
    largest: Tensor = F.max_pool2d(padded, **words)
    return largest


def average_pool(x: Tensor, *, count_include_pad: int = 0, **words: Any) -> Tensor:
    """Mean over windows."""
    both = _pads(x, words)
    if both[: len(both) // 2] != both[len(both) // 2 :] and not count_include_pad:
        message = "uneven padding of an average"
        raise ValueError(message)
    padded, words = _window(x, words, 0.0)
    words.pop("dilation", None)
    return F.avg_pool2d(padded, **words, count_include_pad=bool(count_include_pad))


def pads_of(x: Tensor, kernel: Ints, words: dict[str, Any]) -> list[int]:
    """Padding before and after each axis, all beginnings first, as `auto_pad` may ask for."""
    mode, rank = words.get("auto_pad", "NOTSET"), len(kernel)
    if mode in ("NOTSET", ""):
        return list(words.get("pads") or [0] * 2 * rank)
    if mode == "VALID":
        return [0] * 2 * rank
    strides = words.get("strides") or [1] * rank
    dilations = words.get("dilations") or [1] * rank
    before, after = [], []
    for size, k, stride, gap in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + (k - 1) * gap + 1 - size)
        less, more = total // 2, total - total // 2
        upper = {"SAME_UPPER": True, "SAME_LOWER": False}[mode]
        before.append(less if upper else more)
        after.append(more if upper else less)
    return [*before, *after]


def _pads(x: Tensor, words: dict[str, Any]) -> list[int]:
    return pads_of(x, words["kernel_shape"], words)


def _window(x: Tensor, words: dict[str, Any], fill: float) -> tuple[Tensor, dict[str, Any]]:
    """Give the image, padded where torch cannot, and torch's own words for the window."""
    known = {"kernel_shape", "strides", "pads", "dilations", "ceil_mode", "auto_pad"}
    if surplus := {name for name, value in words.items() if name not in known and value}:
        message = f"the attribute {min(surplus)}"
        raise ValueError(message)
    kernel, both = list(words["kernel_shape"]), _pads(x, words)
    if len(kernel) != 2:
        message = f"a window of {len(kernel)} axes"
        raise ValueError(message)
    begin, end = both[:2], both[2:]
    even = begin == end and all(2 * p <= k for p, k in zip(begin, kernel, strict=True))
    if not even:
        x = F.pad(x, [begin[1], end[1], begin[0], end[0]], value=fill)
    return x, {
        "kernel_size": kernel,
        "stride": list(words.get("strides") or [1, 1]),
        "padding": begin if even else [0, 0],
        "dilation": list(words.get("dilations") or [1, 1]),
        "ceil_mode": bool(words.get("ceil_mode", 0)),
    }
