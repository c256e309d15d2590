"""ONNX out, and the proof that it is the network it came from."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from gatekeeper.errors import StepError
from gatekeeper.model import Images, Model
from gatekeeper.records import Parity

INPUT, OUTPUT = "pixels", "logits"
_MOST_BYTES = 2_000_000_000  # of one protobuf
_BATCH = 64


def export(model: Model, path: Path, *, metadata: dict[str, str]) -> int:
    """Write `model` to `path` and give the opset; pixels in [0, 1] go in, logits come out.

    Normalisation is inside the graph, the batch dimension is free, no path of this machine stays.

    Raises:
        StepError: torch cannot export this network, it is larger than a protobuf may be, or what
            torch wrote is no valid ONNX.
    """
    size = sum(weight.numel() * weight.element_size() for weight in model.network.parameters())
    if size > _MOST_BYTES:
        message = f"the network has {size:,} bytes of weights, ONNX in one file ends at 2 GB"
        raise StepError(message, hint="Deploy the safetensors file.")
    view = model.clone().pixels_to_logits().cpu().float().eval()
    example = torch.zeros(2, *model.input.size)
    with _told(f"torch cannot export {model.architecture}"), _quiet():
        program = torch.onnx.export(
            view,
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    if program is None:
        message = f"torch gave no program for {model.architecture}"
        raise StepError(message)
    with _told(f"the export of {model.architecture} is no valid ONNX"):
        proto = program.model_proto
        _strip(proto)
        onnx.helper.set_model_props(proto, metadata)
        onnx.checker.check_model(proto, full_check=True)
        written = proto.SerializeToString()
    path.write_bytes(written)
    return int(next(entry.version for entry in proto.opset_import if entry.domain == ""))


def parity(model: Model, onnx_path: Path, images: Images) -> Parity:
    """Compare the file with torch in FP32 on every one of `images`.

    An answer that is not finite agrees with nothing, and has no difference to tell.

    Raises:
        StepError: onnxruntime cannot run the file.
    """
    view = model.clone().pixels_to_logits().cpu().float().eval()
    session = _session(onnx_path)
    worst, agreed = 0.0, 0
    for index in torch.arange(len(images), device=images.pixels.device).split(_BATCH):
        pixels = images.select(index).to("cpu").floats()
        with torch.inference_mode():
            expected = view(pixels).numpy()
        seen = _answers(session, pixels)
        with np.errstate(invalid="ignore"):  # infinity less infinity
            apart = np.abs(seen - expected)  # (n, classes)
        finite = np.isfinite(apart).all(axis=1)
        # Unlike max(), this one keeps a NaN.
        worst = float(np.maximum(worst, apart.max()))
        agreed += int((finite & (seen.argmax(1) == expected.argmax(1))).sum())
    return Parity(
        max_abs_diff=worst if np.isfinite(worst) else None,
        top1_agreement=agreed / len(images),
        samples=len(images),
    )


def predictions(onnx_path: Path, images: Images) -> np.ndarray:
    """(N,) the class that the file names for each image.

    Raises:
        StepError: onnxruntime cannot run the file.
    """
    session = _session(onnx_path)
    answers = [
        _answers(session, images.select(index).to("cpu").floats())
        for index in torch.arange(len(images), device=images.pixels.device).split(_BATCH)
    ]
    classes: np.ndarray = np.concatenate(answers).argmax(axis=1)
    return classes


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    with _told("onnxruntime cannot load the export"):
        return onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )


def _answers(session: onnxruntime.InferenceSession, pixels: torch.Tensor) -> np.ndarray:
    """(n, C, H, W) in [0, 1] -> (n, classes)."""
    with _told("onnxruntime cannot run the export"):
        answers: np.ndarray = session.run([OUTPUT], {INPUT: pixels.numpy()})[0]
    return answers


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """Three libraries raise here, each by its own tree: only this step ends, with one line."""
    try:
        yield
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        message = f"{what}: {first[:300]}"
        raise StepError(message, hint="The report stands; there is no ONNX artifact.") from error


def _strip(proto: onnx.ModelProto) -> None:
    """Take out stack traces and comments: they name paths of the machine that exported."""
    proto.doc_string = ""
    for graph in (proto.graph, *proto.functions):
        _strip_graph(graph)


def _strip_graph(graph: onnx.GraphProto | onnx.FunctionProto) -> None:
    """Strip a graph or function, and the graphs inside of its nodes (If, Loop, Scan)."""
    # A function's inputs and outputs are bare names, and it has no initializers.
    held = [*graph.input, *graph.output, *getattr(graph, "initializer", ())]
    values = [value for value in held if not isinstance(value, str)]
    for part in (graph, *graph.node, *graph.value_info, *values):
        part.doc_string = ""
        del part.metadata_props[:]
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        attribute.doc_string = ""
        if attribute.HasField("g"):
            _strip_graph(attribute.g)
        for inner in attribute.graphs:
            _strip_graph(inner)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter talks on stdout, which carries our result."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
