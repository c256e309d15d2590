"""ONNX files, honest and hostile, as their own library writes them; nothing in them would run."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file
from torch import nn

from gatekeeper.candidate.extraction import Extraction, extract
from gatekeeper.candidate.graph.convert import convert
from gatekeeper.candidate.graph.record import Graph, read_graph

SIZE = (3, 8, 8)


class SmallNet(nn.Module):
    """A network with one of each thing that small classifiers are made of."""

    def __init__(self, classes: int = 4, *, ends_in: nn.Module | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=2)
        self.head = nn.Linear(8, classes)
        self.ends_in = ends_in or nn.Identity()
        self.bn1.running_var.uniform_(0.5, 2)
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.nn.functional.max_pool2d(x, 2) + torch.nn.functional.avg_pool2d(x, 2)
        y = torch.cat([x, torch.sigmoid(x)], dim=1)[:, :8]
        y = torch.nn.functional.hardswish(self.conv2(y)).mean((2, 3))
        answer: torch.Tensor = self.ends_in(self.head(y.clamp(-3, 3)))
        return answer


def exported(
    network: nn.Module, path: Path, *, dynamo: bool, free: bool = True,
    size: tuple[int, int, int] = SIZE, folded: bool = True,
) -> Path:  # fmt: skip
    """Export as torch does, by its new or its old exporter, with a free batch dimension or one."""
    image = torch.zeros(2 if free else 1, *size)
    words: dict[str, Any]
    if dynamo:
        batch = ({0: torch.export.Dim("batch", min=1)},) if free else None
        words = {"dynamo": True, "dynamic_shapes": batch, "external_data": False, "verbose": False}
    else:
        axes = {"in": {0: "batch"}, "out": {0: "batch"}} if free else None
        training = None if folded else torch.onnx.TrainingMode.PRESERVE
        words = {"dynamo": False, "input_names": ["in"], "output_names": ["out"],
                 "dynamic_axes": axes}  # fmt: skip
        if training is not None:
            words |= {"training": training, "do_constant_folding": False}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(network.eval(), (image,), str(path), **words)
    return path


def taken(path: Path) -> Extraction:
    """Let the quarantine child read it."""
    with path.open("rb") as stream:
        return extract(stream, "onnx", path.with_suffix(".safetensors"))


def converted(path: Path) -> tuple[Graph, nn.Module, tuple[int, ...]]:
    """Read a file and build its network."""
    extraction = taken(path)
    assert extraction.no_graph == ""
    graph = read_graph(extraction.graph)
    size = tuple(length or 8 for length in graph.shape[1:])
    tensors = load_file(path.with_suffix(".safetensors"))
    network, answer = convert(graph, tensors, (size[0], size[1], size[2]))
    return graph, network, answer


def constant(name: str, values: Any, dtype: str = "float32") -> onnx.TensorProto:
    """Write a tensor."""
    return numpy_helper.from_array(np.array(values, dtype), name)


def linear() -> onnx.ModelProto:
    """The smallest classifier: flatten, then one matrix."""
    weight = np.random.default_rng(0).standard_normal((4, 192), np.float32)
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["y"], transB=1),
    ]
    return model(nodes, [constant("w", weight), constant("b", [1, 2, 3, 4])])


def model(
    nodes: Sequence[onnx.NodeProto],
    tensors: Sequence[onnx.TensorProto] = (),
    *,
    shape: Sequence[int | str | None] = ("batch", *SIZE),
    opset: int = 18,
    **more: Any,
) -> onnx.ModelProto:
    """Put nodes from x to y into a model."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(list(nodes), "g", [x], [y], list(tensors))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], **more)


def saved(proto: onnx.ModelProto | bytes, folder: Path) -> Path:
    """Write the bytes as they are: nothing is checked."""
    content = proto if isinstance(proto, bytes) else proto.SerializeToString()
    path = folder / "model.onnx"
    path.write_bytes(content)
    return path
