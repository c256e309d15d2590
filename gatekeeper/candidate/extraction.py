"""Extraction: a quarantine child parses one file, and what it hands back is checked."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from gatekeeper.candidate import safetensors_file
from gatekeeper.candidate.budget import Budget
from gatekeeper.candidate.quarantine import Quarantine
from gatekeeper.candidate.refusals import QuarantineError
from gatekeeper.candidate.structure import Layer, StructureError, read_structure

_ROOM = 1 << 29  # bytes beyond the file that its weights may take in the parent
_PADDING = 16 << 20  # bytes of header and of small tied tensors
READABLE = frozenset({"torch-zip", "torch-legacy", "npz", "safetensors", "onnx"})


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """Type and shape of every tensor, and the protections that were in force."""

    tensors: dict[str, tuple[str, tuple[int, ...]]]
    protections: tuple[str, ...]
    weights_key: str | None
    prefix: str
    structure: list[Layer] | None = None  # of a whole network that was pickled
    graph: Any = None  # of an ONNX file, as the child saw it: for `graph/record.py` to check
    no_graph: str = ""  # why an ONNX file's graph is not one that the gate converts


def extract(
    stream: BinaryIO,
    kind: str,
    out: Path,
    *,
    weights_key: str | None = None,
    accept_weak: bool = False,
    budget: Budget | None = None,
) -> Extraction:
    """Let a child parse `stream` and write its tensors to `out` as safetensors.

    Args:
        stream: the bytes that were hashed and looked at.
        kind: as the look named it.
        out: where to.
        weights_key: under which the weights stand, where there are several.
        accept_weak: whether a quarantine that lacks the least protections will do.
        budget: of the candidate's time, as other children left it.

    Raises:
        BlockedError: a tensor does not fit its storage, or a graph reaches out of its file.
        QuarantineError: it cannot be parsed, within bounds of time and memory.
        RunDirectoryError: the machine failed (disk full, no more processes), not the file.
    """
    if kind not in READABLE:
        message = f"a file of kind {kind} is not parsed"
        raise QuarantineError(message)
    size = os.fstat(stream.fileno()).st_size
    with Quarantine(kind, size=size, accept_weak=accept_weak) as child:
        protections = child.protections
        with out.open("wb") as written:
            answer = child.ask({"key": weights_key}, stream, written, budget=budget)
    try:
        with out.open("rb") as read:
            tensors = safetensors_file.check(read)
        told = answer.get("structure")
        structure = None if told is None else read_structure(told)
    except (safetensors_file.SafetensorsError, StructureError) as error:
        message = f"the quarantine's answer is damaged: {error}"
        raise QuarantineError(message, protections=protections) from None
    _check_growth(tensors, size, out.stat().st_size, protections)
    if not tensors:
        message = "the file holds no tensor"
        raise QuarantineError(message, protections=protections)
    return Extraction(
        tensors=tensors,
        protections=protections,
        weights_key=answer.get("key"),
        prefix=str(answer.get("prefix", "")),
        structure=structure,
        graph=answer.get("graph"),
        no_graph=str(answer.get("no_graph", "")),
    )


def _check_growth(
    tensors: safetensors_file.Tensors, size: int, written: int, protections: tuple[str, ...]
) -> None:
    """Refuse views of few bytes that would fill the memory once they are weights in FP32.

    Weights that stand in the file byte for byte take what their kind takes: four times as much
    where they are 8-bit floats.

    Raises:
        QuarantineError: they would.
    """
    floats = (shape for kind, shape in tensors.values() if kind.startswith(("F", "BF")))
    needed = 4 * sum(map(math.prod, floats))
    if written > size + _PADDING and needed > size + _ROOM:
        message = f"the file has {size:,} bytes, and its tensors would take {needed:,} in memory"
        hint = "Ask its maker for a file that holds every tensor whole (tensor.contiguous())."
        raise QuarantineError(message, hint=hint, protections=protections)
