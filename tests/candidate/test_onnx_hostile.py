"""An ONNX file that reaches out of itself is blocked, and one that lies has its own clear line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import SIZE, constant, linear, model, saved, taken
from onnx import TensorProto, helper
from safetensors.torch import load_file
from torch import Tensor

from gatekeeper.candidate.graph import wire
from gatekeeper.candidate.graph.convert import ConversionError, convert
from gatekeeper.candidate.graph.record import read_graph
from gatekeeper.candidate.inspect import inspect
from gatekeeper.candidate.refusals import (
    BlockedError,
    ExternalDataError,
    ForeignOperatorError,
    MalformedTensorError,
    QuarantineError,
)
from gatekeeper.errors import CandidateError

Change = Callable[[onnx.ModelProto], None]


def changed(change: Change) -> onnx.ModelProto:
    """Change the honest linear classifier."""
    proto = linear()
    change(proto)
    return proto


def moved_out(location: str, *, offset: str | None = None, place: str = "initializer") -> Change:
    """Say that the weights stand at `location`."""

    def change(proto: onnx.ModelProto) -> None:
        tensor = proto.graph.initializer[0]
        if place == "attribute":
            node = helper.make_node("Constant", [], ["c"], value=constant("c", [1.0]))
            proto.graph.node.insert(0, node)
            tensor = proto.graph.node[0].attribute[0].t
        if place == "function":
            inner = helper.make_node("Constant", [], ["o"], value=constant("c", [1.0]))
            function = helper.make_function(
                "own", "f", [], ["o"], [inner], [helper.make_opsetid("", 18)]
            )
            proto.functions.append(function)
            tensor = proto.functions[0].node[0].attribute[0].t
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", offset)):
            if value is not None:
                tensor.external_data.add(key=key, value=value)

    return change


@pytest.mark.parametrize("place", ["initializer", "attribute", "function"])
@pytest.mark.parametrize(
    "location",
    ["/etc/passwd", "../weights.bin", "a/../../b", "C:\\w.bin", "\\\\host\\share", "..\\w.bin",
     "*/_ORT_MEM_ADDR_/*", "https://host/w.bin", ""],
)  # fmt: skip
def test_data_outside_of_the_folder_is_blocked_wherever_it_is_named(
    location: str, place: str, tmp_path: Path
) -> None:
    with pytest.raises(ExternalDataError, match="outside of the file's folder") as blocked:
        taken(saved(changed(moved_out(location, place=place)), tmp_path))
    assert blocked.value.rule == "external-data"


@pytest.mark.parametrize("offset", ["-1", "1e9", "0x10", "", "٣"])
def test_bad_offsets_are_blocked(offset: str, tmp_path: Path) -> None:
    with pytest.raises(ExternalDataError, match="begin or end at"):
        taken(saved(changed(moved_out("weights.bin", offset=offset)), tmp_path))


def test_a_neighbour_is_not_read_even_where_it_is_there_or_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.bin").write_bytes(bytes(4 * 4 * 192))
    (tmp_path / "link.bin").symlink_to("/etc/hostname")
    for name in ("real.bin", "link.bin", "missing.bin"):
        with pytest.raises(QuarantineError, match="save it with the weights inside") as refused:
            taken(saved(changed(moved_out(name)), tmp_path))
        assert not isinstance(refused.value, BlockedError)


@pytest.mark.parametrize(
    ("name", "domain"),
    [("PythonOp", ""), ("PythonOp", "com.microsoft"), ("PyCustomOp", "ai.onnx.contrib"),
     ("StringUpper", "ai.onnx.contrib"), ("ATen", "org.pytorch.aten"),
     ("EPContext", "com.microsoft")],
)  # fmt: skip
@pytest.mark.parametrize("hidden", [False, True])
def test_an_operator_that_runs_code_is_blocked(
    name: str, domain: str, hidden: bool, tmp_path: Path
) -> None:
    node = helper.make_node(name, ["x"], ["y"], domain=domain)
    if hidden:  # in a branch that an If would take
        out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        branch = helper.make_graph([node], "branch", [], [out])
        node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    with pytest.raises(ForeignOperatorError, match=name):
        taken(saved(model([node], [constant("c", [True], "bool")]), tmp_path))


def lie(**fields: object) -> Change:
    """Let the first tensor tell something else."""

    def change(proto: onnx.ModelProto) -> None:
        tensor = proto.graph.initializer[0]
        for name, value in fields.items():
            if isinstance(value, list):
                tensor.ClearField(name)
                getattr(tensor, name).extend(value)
            else:
                setattr(tensor, name, value)

    return change


@pytest.mark.parametrize(
    "change",
    [lie(dims=[4, 193]), lie(dims=[4, -192]), lie(dims=[1 << 40, 1 << 40]), lie(dims=[0]),
     lie(dims=[1] * 100), lie(raw_data=b"1234"), lie(raw_data=b""), lie(data_type=11),
     lie(float_data=[1.0]), lie(raw_data=b"", int64_data=[1] * 768)],
)  # fmt: skip
def test_a_tensor_that_lies_about_its_shape_is_blocked(change: Change, tmp_path: Path) -> None:
    with pytest.raises(MalformedTensorError, match="tensor 'w'"):
        taken(saved(changed(change), tmp_path))


def twice(proto: onnx.ModelProto) -> None:
    proto.graph.initializer.append(proto.graph.initializer[0])


def texts(proto: onnx.ModelProto) -> None:
    proto.graph.initializer.append(helper.make_tensor("t", TensorProto.STRING, [1], [b"a"]))


def opset_only(proto: onnx.ModelProto) -> None:
    proto.ClearField("graph")


@pytest.mark.parametrize(
    ("change", "line"),
    [(twice, "two initializers"), (texts, "holds texts"), (opset_only, "holds no graph"),
     (lie(data_type=99), "type 99")],
)  # fmt: skip
def test_what_cannot_be_read_is_told(change: Change, line: str, tmp_path: Path) -> None:
    with pytest.raises(QuarantineError, match=line):
        taken(saved(changed(change), tmp_path))


def node(*words: object, **more: object) -> onnx.NodeProto:
    return helper.make_node(*words, **more)


def sparse(proto: onnx.ModelProto) -> None:
    values, indices = constant("s", [1.0]), constant("i", [3], "int64")
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [9]))


def function(proto: onnx.ModelProto) -> None:
    inner = helper.make_node("Relu", ["a"], ["b"])
    proto.functions.append(
        helper.make_function("own", "f", ["a"], ["b"], [inner], [helper.make_opsetid("", 18)])
    )


def training(proto: onnx.ModelProto) -> None:
    proto.training_info.add()


def two_inputs(proto: onnx.ModelProto) -> None:
    proto.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1]))


def bytes_in(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8


def replaced(*nodes: onnx.NodeProto) -> Change:
    def change(proto: onnx.ModelProto) -> None:
        del proto.graph.node[:]
        proto.graph.node.extend(nodes)

    return change


CYCLE = (
    node("Relu", ["b2"], ["b1"]),
    node("Relu", ["b1"], ["b2"]),
    node("Gemm", ["b2", "w"], ["y"]),
)
NO_GRAPH = {
    "takes 'b2' before it is there": replaced(*CYCLE),
    "takes 'nowhere', which nothing gives": replaced(node("Relu", ["nowhere"], ["y"])),
    "gives 'w', which is there already": replaced(node("Relu", ["x"], ["w"])),
    "nothing gives its output 'y'": replaced(node("Relu", ["x"], ["z"])),
    "com.acme::Fancy, not of ONNX": replaced(node("Fancy", ["x"], ["y"], domain="com.acme")),
    "sparse initializer": sparse, r"functions \(f\)": function, "training info": training,
    "2 inputs": two_inputs, "no tensor of 32-bit floats": bytes_in,
    "holds the attribute 'value'": replaced(
        node("ConstantOfShape", ["x"], ["y"], value=constant("v", [1, 2]))),
}  # fmt: skip


@pytest.mark.parametrize("line", NO_GRAPH)
def test_a_graph_that_is_none_is_told_and_its_tensors_are_kept(line: str, tmp_path: Path) -> None:
    extraction = taken(saved(changed(NO_GRAPH[line]), tmp_path))
    assert extraction.graph is None
    assert "w" in extraction.tensors
    assert re.search(line, extraction.no_graph), extraction.no_graph


def test_every_cut_of_a_file_is_undecided_or_blocked_and_still_onnx(tmp_path: Path) -> None:
    whole = linear().SerializeToString()
    for end in range(20, len(whole) - 1, len(whole) // 12):
        path = saved(whole[:end], tmp_path)
        assert inspect(path).artifact.kind == "onnx"
        with pytest.raises(QuarantineError, match="ONNX"):
            taken(path)


@pytest.mark.parametrize(
    "content",
    [b"\x08\x08" * 3_000_000, b"\x3a\x02" * 40 + b"\x3a\x00", b"\x3a\xff\xff\xff\xff\x0f",
     b"\x08\x08\x3a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", b"\x3a\x04\x9b\x06\x00\x00",
     b"\x08\x0a\x3a\x03\x0a\x01\xff"],
)  # fmt: skip
def test_broken_messages_end_with_a_line(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(QuarantineError):
        taken(saved(content, tmp_path))


def test_a_graph_inside_of_graphs_ends(tmp_path: Path) -> None:
    inner = b""
    for _ in range(200):  # graph > node > attribute > graph
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            length, size = b"", len(inner)
            while size > 127:
                length, size = length + bytes([size & 127 | 128]), size >> 7
            inner = tag + length + bytes([size]) + inner
    size, length = len(inner), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    with pytest.raises(QuarantineError, match="nested deeper"):
        taken(saved(b"\x08\x08\x3a" + length + bytes([size]) + inner, tmp_path))


def test_what_stands_twice_is_refused_where_protobuf_would_merge(tmp_path: Path) -> None:
    whole = linear().SerializeToString()
    with pytest.raises(QuarantineError, match="two fields graph"):
        taken(saved(whole + whole[whole.index(b"\x3a") :], tmp_path))
    assert len(onnx.load_from_string(whole + whole).graph.node) == 4


def test_our_own_reader_sees_the_tensors_that_protobuf_sees(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    proto = linear()
    for number, dtype in enumerate(["float16", "float64", "int8", "uint8", "int32", "int64", "bool",
                                    "uint32", "uint64", "int16"]):  # fmt: skip
        values = (chance.standard_normal((2, 3)) * 9).astype(dtype)
        raw = constant(f"raw{number}", values, dtype)
        proto.graph.initializer.append(raw)
        packed = helper.make_tensor(
            f"packed{number}", raw.data_type, [2, 3], values.flatten().tolist()
        )
        proto.graph.initializer.append(packed)
    path = saved(proto, tmp_path)
    taken(path)
    seen = load_file(path.with_suffix(".safetensors"))
    for tensor in proto.graph.initializer:
        expected = onnx.numpy_helper.to_array(tensor)
        assert np.array_equal(seen[tensor.name].numpy(), expected), tensor.name


def bomb(*nodes: onnx.NodeProto, **tensors: list[int]) -> onnx.ModelProto:
    held = [constant(name, values, "int64") for name, values in tensors.items()]
    return model(nodes, held)


BOMBS = {
    "pads to 2^80": bomb(node("Pad", ["x", "p"], ["y"]), p=[0, 0, 1 << 38, 1 << 38, 0, 0, 0, 0]),
    "pads, then pools away": bomb(
        node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], pads=[60_000] * 4, strides=[9999, 9999])
    ),
    "expands": bomb(node("Expand", ["x", "s"], ["y"]), s=[1 << 20, 1 << 20, 3, 8, 8]),
    "fills": bomb(node("ConstantOfShape", ["s"], ["c"]), node("Add", ["x", "c"], ["y"]),
                  s=[1 << 30, 8]),
    "squares": bomb(
        node("Shape", ["x"], ["n0"]),
        *[node("Mul", [f"n{k}", f"n{k}"], [f"n{k + 1}"]) for k in range(200)],
        node("Reshape", ["x", "n200"], ["y"]),
    ),
    "multiplies without end": bomb(
        node("Pad", ["x", "p"], ["wide"]),
        *[node("MatMul", ["wide" if k == 0 else f"m{k}", "wide"], [f"m{k + 1}"]) for k in range(9)],
        node("Relu", ["m9"], ["y"]), p=[0, 0, 2000, 2000, 0, 0, 2000, 2000],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_graph_that_would_grow_is_refused_before_it_runs(name: str, tmp_path: Path) -> None:
    graph = read_graph(taken_graph(BOMBS[name], tmp_path))
    with pytest.raises(ConversionError, match="does not convert at"):
        convert(graph, tensors_in(tmp_path), SIZE)


def taken_graph(proto: onnx.ModelProto, folder: Path) -> object:
    if not proto.graph.initializer:  # a file without any tensor is refused before
        proto.graph.initializer.append(constant("unused", [1.0]))
    return taken(saved(proto, folder)).graph


def tensors_in(folder: Path) -> dict[str, Tensor]:
    loaded: dict[str, Tensor] = load_file(folder / "model.safetensors")
    return loaded


@pytest.mark.parametrize(
    "told",
    [None, [], {}, {"opset": 18}, {"opset": True, "input": "x", "shape": [1, 3, 8, 8],
     "output": "y", "nodes": []}, {"opset": 18, "input": "x", "shape": [1, 3, 1 << 40, 8],
     "output": "y", "nodes": []}, {"opset": 18, "input": "x", "shape": [1, 3, 8, 8],
     "output": "y", "nodes": [{"op": 3}]}, {"opset": 99, "input": "x", "shape": [1, 3, 8, 8],
     "output": "y", "nodes": []}, {"opset": 18, "input": "x", "shape": [1, 8], "output": "y",
     "nodes": []}],
)  # fmt: skip
def test_what_the_child_tells_is_checked_again(told: object) -> None:
    with pytest.raises(CandidateError):
        read_graph(told)


def test_numbers_of_more_than_ten_bytes_are_refused() -> None:
    with pytest.raises(wire.WireError, match="ten bytes"):
        wire.varint(b"\x80" * 11, 0)


def test_inspection_sees_what_a_graph_reaches_for(tmp_path: Path) -> None:
    """Static inspection gives the same answer as the scan, without converting anything."""
    outside = constant("w", [[1.0]])
    outside.ClearField("raw_data")
    outside.data_location = onnx.TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="/etc/passwd")
    gemm = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    runs = onnx.helper.make_node("PythonOp", ["x", "w"], ["y"], domain="com.microsoft")
    loop = onnx.helper.make_node("Add", ["y", "w"], ["y"])
    weight = constant("w", [[1.0]])
    seen = {
        name: inspect(saved(proto, tmp_path))
        for name, proto in {
            "outside": model([gemm], [outside]), "runs": model([runs], [weight]),
            "loop": model([loop], [weight]), "fine": model([gemm], [weight]),
        }.items()
    }  # fmt: skip
    assert [finding.rule_id for finding in seen["outside"].findings] == ["external-data"]
    assert [finding.rule_id for finding in seen["runs"].findings] == ["foreign-operator"]
    assert "cycle" in seen["loop"].unreadable
    assert (seen["fine"].findings, seen["fine"].unreadable) == ((), "")
