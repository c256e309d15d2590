"""Lets onnxruntime answer to images: only in a quarantine child of its own.

No library of operators is loaded, no optimiser rewrites the graph, and no tensor outside of the
file could be read: by the time the graph is loaded, nothing can be opened.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Any, BinaryIO

import numpy as np
import onnxruntime

from gatekeeper.candidate.graph.noise import random_images

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def stay_alone() -> None:
    """Go on in a copy of this process that has one thread.

    onnxruntime starts a thread when it is imported, which no namespace, Landlock or seccomp would
    bind that is asked for afterwards.
    """
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL, 0, 0, 0)
    if os.getppid() == 1:
        sys.exit(1)


def run(
    source: BinaryIO, out: BinaryIO, given: BinaryIO | None = None, *, shape: list[int], batch: int
) -> dict[str, Any]:
    """Write the answers to `given` images of `shape`, or random ones, as 32-bit floats."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        source.read(), sess_options=options, providers=["CPUExecutionProvider"]
    )
    name, images = session.get_inputs()[0].name, random_images(shape)
    if given is not None:
        images = np.frombuffer(given.read(), "<f4").reshape(shape)
    told = np.concatenate(
        [
            np.asarray(session.run(None, {name: images[start : start + batch]})[0], "<f4")
            for start in range(0, len(images), batch)
        ]
    )
    out.write(told.tobytes())
    return {"shape": list(told.shape)}
