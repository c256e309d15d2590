"""ONNX protos with lies: the reader raises nothing but its own, and sees what the library sees."""

from __future__ import annotations

from contextlib import suppress

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from gatekeeper.candidate.graph import outline
from gatekeeper.candidate.graph.hostile import HostileError
from gatekeeper.candidate.graph.record import read_graph
from gatekeeper.candidate.standins import MalformedError, UnsupportedError
from gatekeeper.errors import CandidateError

repeatable = settings(derandomize=True, deadline=None, max_examples=300)
OWN = (HostileError, MalformedError, UnsupportedError)
_names = st.sampled_from(["x", "y", "w", "b", "h", "", "../w", "é"])
_kinds = st.sampled_from(["Conv", "Gemm", "Relu", "Add", "Flatten", "If", "PythonOp", "Nobody"])
_domains = st.sampled_from([""] * 8 + ["ai.onnx.contrib", "com.example"])
_lengths = st.lists(st.sampled_from([0, 1, 2, 3, 4, -1, 1 << 40, 1 << 62]), max_size=4)
_values = st.one_of(
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(width=32),
    st.text(max_size=5),
    st.lists(st.integers(-4, 4), min_size=1, max_size=4),
    st.lists(st.floats(width=32), min_size=1, max_size=3),
)


@st.composite
def tensors(draw: st.DrawFn) -> TensorProto:
    """Write a tensor whose type, shape, numbers and place may not belong together."""
    tensor = TensorProto(name=draw(_names), data_type=draw(st.integers(0, 24)))
    tensor.dims.extend(draw(_lengths))
    where = draw(st.sampled_from(["raw", "floats", "ints", "outside"]))
    if where == "raw":
        tensor.raw_data = draw(st.binary(max_size=48))
    elif where == "floats":
        tensor.float_data.extend(draw(st.lists(st.floats(width=32), max_size=8)))
    elif where == "ints":
        tensor.int64_data.extend(draw(st.lists(st.integers(-9, 9), max_size=8)))
    else:
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", draw(st.sampled_from(["w.bin", "/etc/x", "../x"]))
    return tensor


@st.composite
def models(draw: st.DrawFn) -> onnx.ModelProto:
    """Write a graph of a few nodes that may lead anywhere."""
    nodes = []
    for _ in range(draw(st.integers(0, 4))):
        node = helper.make_node(
            draw(_kinds), draw(st.lists(_names, max_size=3)), draw(st.lists(_names, max_size=2)),
            domain=draw(_domains),
        )  # fmt: skip
        for name in draw(st.lists(st.sampled_from(["axis", "strides", "transB"]), max_size=2)):
            node.attribute.append(helper.make_attribute(name, draw(_values)))
        nodes.append(node)
    x = helper.make_tensor_value_info(draw(_names), TensorProto.FLOAT, draw(_lengths))
    y = helper.make_tensor_value_info(draw(_names), TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [x], [y], draw(st.lists(tensors(), max_size=3)))
    opsets = [helper.make_opsetid("", draw(st.integers(0, 30)))]
    return helper.make_model(graph, opset_imports=opsets)


@repeatable
@given(models())
def test_only_its_own_errors_and_the_shapes_of_the_library(model: onnx.ModelProto) -> None:
    try:
        held, graph, why = outline.read(memoryview(model.SerializeToString()))
    except OWN:
        return
    assert (graph is None) == bool(why)
    for tensor in model.graph.initializer:
        assert held[tensor.name].size == numpy_helper.to_array(tensor).shape
    if graph is not None:
        with suppress(CandidateError):
            read_graph(graph)


@repeatable
@given(models(), st.data())
def test_damaged_bytes_end_in_a_line(model: onnx.ModelProto, data: st.DataObject) -> None:
    content = bytearray(model.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, max(0, len(content) - 1)))
        change = data.draw(st.sampled_from(["flip", "cut", "insert"]))
        if change == "flip" and content:
            content[place] = data.draw(st.integers(0, 255))
        elif change == "cut":
            del content[place : place + data.draw(st.integers(1, 9))]
        else:
            content[place:place] = data.draw(st.binary(max_size=9))
    with suppress(*OWN):
        outline.read(memoryview(bytes(content)))


@pytest.mark.parametrize("content", [b"", b"\x08", b"\x3a\xff\xff\xff\xff\x0f", b"\x0b" * 4000])
def test_what_is_no_model_is_said_so(content: bytes) -> None:
    with pytest.raises(UnsupportedError):
        outline.read(memoryview(content))
