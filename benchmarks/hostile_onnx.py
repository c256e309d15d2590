"""Builds hostile ONNX files; nothing in them is ever loaded here."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import TensorProto, helper

SHAPE = (2, 2)


def graph(*nodes: Any, weight: Any = None, inputs: tuple[int, ...] = SHAPE) -> bytes:
    """Write a model of some nodes over one weight; a single Gemm where none are given."""
    weight = weight or helper.make_tensor("w", TensorProto.FLOAT, SHAPE, [1.0] * 4)
    told = helper.make_graph(
        list(nodes) or [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, inputs)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weight],
    )
    return bytes(helper.make_model(told, producer_name="pytorch").SerializeToString())


def external(location: str, *, offset: int = 0, length: int = 16) -> bytes:
    """Let the weight lie in another file."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=SHAPE)
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        weight.external_data.add(key=key, value=str(value))
    return graph(weight=weight)


def custom(domain: str, operator: str) -> bytes:
    """Call an operator that is none of ONNX's own."""
    return graph(helper.make_node(operator, ["x", "w"], ["y"], domain=domain))


def cyclic() -> bytes:
    """Let two nodes wait for each other."""
    first = helper.make_node("Add", ["x", "b"], ["a"])
    return graph(first, helper.make_node("Add", ["a", "w"], ["b"]))


def lying_shape() -> bytes:
    """Declare more numbers than are there."""
    weight = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=(1 << 40, 1 << 20))
    weight.raw_data = bytes(16)
    return graph(weight=weight)
