"""Is the network that a graph became the same network? onnxruntime is asked, in quarantine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import BinaryIO

import torch
from torch import nn

from gatekeeper.candidate.budget import Budget
from gatekeeper.candidate.graph.asking import ask
from gatekeeper.candidate.graph.convert import ConversionError
from gatekeeper.candidate.graph.noise import random_images

_IMAGES, _LARGE = 4, 2
_LARGE_PLACES = 128 * 128
_MOST_PLACES = 1 << 25  # of all images together
# Two libraries add in another order: shares of how far a row's answers lie apart, and of the
# largest, below which single precision sees nothing.
_OF_SPREAD, _OF_SIZE = 1e-3, 1e-5


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far two libraries' answers to random images lie apart, and under what protections."""

    max_abs_diff: float
    images: int
    protections: tuple[str, ...]


def prove(
    stream: BinaryIO, network: nn.Module, size: tuple[int, int, int], *, batch: int | None,
    accept_weak: bool = False, budget: Budget | None = None,
) -> Agreement:  # fmt: skip
    """Show random images to `network` and to the ONNX file in `stream`.

    Args:
        stream: the bytes that were hashed and parsed.
        network: what they became, on the CPU.
        size: channels, height and width of an image.
        batch: how many images the graph takes at once, None where that is free.
        accept_weak: whether a quarantine that lacks the least protections will do.
        budget: of the candidate's time, as other children left it.

    Raises:
        ConversionError: the answers differ, or onnxruntime gives none.
    """
    wanted = _LARGE if size[1] * size[2] > _LARGE_PLACES else _IMAGES
    count = -(-wanted // (batch or 1)) * (batch or 1)
    shape = [count, *size]
    if math.prod(shape) > _MOST_PLACES:
        raise _differ(f"{count} images of size {size} are too much to show")
    # First the child, whose time and memory are bounded: what it cannot do is not tried here.
    theirs, protections = ask(stream, shape, batch or count, accept_weak=accept_weak, budget=budget)
    with torch.inference_mode():
        own = network(torch.from_numpy(random_images(shape))).float()
    if theirs.shape != own.shape:
        raise _differ(f"onnxruntime answers {tuple(theirs.shape)}, torch {tuple(own.shape)}")
    apart = (own - theirs).abs()  # (N, classes)
    if not apart.isfinite().all():
        raise _differ("answers to random images are not finite")
    spread = theirs.amax(1) - theirs.amin(1)
    allowed = _OF_SPREAD * spread + _OF_SIZE * theirs.abs().amax(1)  # (N,)
    if (apart.amax(1) > allowed).any():
        raise _differ(f"answers to random images differ by {float(apart.max()):.3g}")
    return Agreement(max_abs_diff=float(apart.max()), images=count, protections=protections)


def _differ(how: str) -> ConversionError:
    message = f"the network that the ONNX graph became is not proved to be the same: {how}"
    return ConversionError(message)
