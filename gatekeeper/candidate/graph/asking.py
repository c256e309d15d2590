"""Asks onnxruntime, in a quarantine child, what an ONNX file answers to images."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any, BinaryIO, TypeGuard

import torch
from torch import Tensor

from gatekeeper.candidate.budget import Budget
from gatekeeper.candidate.duties import RUN
from gatekeeper.candidate.graph.convert import ConversionError
from gatekeeper.candidate.quarantine import Quarantine
from gatekeeper.candidate.refusals import QuarantineError

_MOST_ANSWERS = 1 << 26  # bytes
_MOST_SHOWN = 1 << 21  # numbers of the images that one child is shown
_MOST_AT_ONCE = 64


def ask(
    stream: BinaryIO, shape: list[int], batch: int, *, images: Tensor | None = None,
    accept_weak: bool, budget: Budget | None = None,
) -> tuple[Tensor, tuple[str, ...]]:  # fmt: skip
    """Let a child answer to `images`, or to random ones of `shape`.

    Gives the answers (N, classes), and the protections that were in force.

    Raises:
        ConversionError: onnxruntime cannot load or run the graph within bounds.
    """
    size = os.fstat(stream.fileno()).st_size
    try:
        with (
            Quarantine(RUN, size=size, accept_weak=accept_weak) as child,
            ExitStack() as opened,
        ):
            files = [opened.enter_context(_in_memory())]
            if images is not None:
                files.append(opened.enter_context(_in_memory()))
                files[1].write(images.contiguous().numpy().astype("<f4").tobytes())
                files[1].seek(0)
            answer = child.ask({"shape": shape, "batch": batch}, stream, *files, budget=budget)
            told = os.pread(files[0].fileno(), _MOST_ANSWERS, 0)
    except QuarantineError as error:
        message = f"onnxruntime cannot run the ONNX graph: {error}"
        raise ConversionError(message) from error
    sizes = answer.get("shape")
    if not _is_table(sizes) or len(told) != 4 * sizes[0] * sizes[1]:
        message = "onnxruntime gives no row of numbers for each image"
        raise ConversionError(message)
    return torch.frombuffer(bytearray(told), dtype=torch.float32).view(sizes), child.protections


def answers(
    stream: BinaryIO, images: Tensor, *, batch: int | None, accept_weak: bool = False
) -> Tensor:
    """Give the answers (N, classes) to all of `images` (N, C, H, W), some to a child.

    Args:
        stream: the bytes that were hashed and parsed.
        images: as the network takes them, normalised.
        batch: how many the graph takes at once, None where that is free.
        accept_weak: whether a quarantine that lacks the least protections will do.

    Raises:
        ConversionError: onnxruntime does not answer within bounds.
    """
    most = max(1, min(_MOST_AT_ONCE, _MOST_SHOWN // max(1, images[0].numel())))
    at_once = batch or most
    step = max(1, most // at_once) * at_once
    told: list[Tensor] = []
    for start in range(0, len(images), step):
        shown = images[start : start + step]
        missing = -len(shown) % at_once  # a graph that takes four is shown four
        shown = torch.cat([shown, shown[:1].expand(missing, *shown.shape[1:])])
        shape = [int(length) for length in shown.shape]
        given, _ = ask(stream, shape, at_once, images=shown, accept_weak=accept_weak)
        if len(given) != len(shown) or (told and given.shape[1] != told[0].shape[1]):
            message = "onnxruntime gives no row of numbers for each image"
            raise ConversionError(message)
        told.append(given[: len(given) - missing])
    return torch.cat(told)


def _in_memory() -> BinaryIO:
    return os.fdopen(os.memfd_create("images"), "w+b")


def _is_table(sizes: Any) -> TypeGuard[list[int]]:
    return (
        isinstance(sizes, list)
        and len(sizes) == 2
        and all(type(length) is int and length > 0 for length in sizes)
    )
