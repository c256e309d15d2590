"""The graph of an ONNX file as plain words and numbers, its tensors apart: in the child only."""

from __future__ import annotations

import struct
from typing import Any

from gatekeeper.candidate.graph import hostile, proto, tensors
from gatekeeper.candidate.graph.proto import Message
from gatekeeper.candidate.graph.wire import WireError
from gatekeeper.candidate.standins import TensorView, UnsupportedError

_MOST_NODES = 20_000
_MOST_NUMBERS = 1_000  # of one attribute
_MOST_TEXT = 200
_OWN_DOMAINS = ("", "ai.onnx")
_FLOAT = 1
_TENSOR, _WHOLE = 4, (2, 7)  # kinds of attribute
_KINDS = {1: "f", 2: "i", 3: "s", 4: "t", 5: "g", 6: "floats", 7: "ints", 8: "strings"}


def read(data: memoryview) -> tuple[dict[str, TensorView], dict[str, Any] | None, str]:
    """Read a model; give its tensors, its graph, and why there is none.

    Raises:
        HostileError: it reaches out of the file.
        MalformedError: a tensor does not fit its bytes.
        UnsupportedError: it is no whole ONNX model.
    """
    try:
        model = proto.read_model(data)
    except WireError as error:
        message = f"no ONNX model can be read from it: {error}"
        raise UnsupportedError(message) from None
    hostile.sweep(model)
    if "graph" not in model:
        message = "the ONNX model holds no graph"
        raise UnsupportedError(message)
    graph = model["graph"]
    held = _tensors(graph)
    try:
        return held, _outline(model, graph, held), ""
    except UnsupportedError as error:
        return held, None, str(error)


def _tensors(graph: Message) -> dict[str, TensorView]:
    held: dict[str, TensorView] = {}
    for tensor in graph.get("initializer", []):
        name = tensor.get("name", "")
        if name in held:
            message = f"two initializers are called {name[:80]!r}"
            raise UnsupportedError(message)
        held[name] = tensors.view(tensor)
    return held


def _outline(model: Message, graph: Message, held: dict[str, TensorView]) -> dict[str, Any]:
    for what, where in (("training_info", model), ("functions", model),
                        ("sparse_initializer", graph)):  # fmt: skip
        if where.get(what):
            names = ", ".join(one.get("name", "") for one in where[what][:3])
            message = f"it has {what.replace('_', ' ')} ({names[:80]})".replace(" ()", "")
            raise UnsupportedError(message)
    nodes = graph.get("node", [])
    if len(nodes) > _MOST_NODES:
        message = f"it has {len(nodes):,} nodes, more than {_MOST_NODES:,}"
        raise UnsupportedError(message)
    given = [value for value in graph.get("input", []) if value.get("name") not in held]
    if len(given) != 1 or len(graph.get("output", [])) != 1:
        message = (
            f"it has {len(given)} inputs and {len(graph.get('output', []))} outputs, "
            "an image classifier has one of each"
        )
        raise UnsupportedError(message)
    _lift_constants(nodes, held)
    outlined = [_node(node) for node in nodes if not _is_constant(node)]
    name, output = given[0].get("name", ""), graph["output"][0].get("name", "")
    _check_names(nodes, {*_initial(graph), name}, output)
    return {
        "opset": _opset(model),
        "input": name,
        "shape": _shape(given[0]),
        "output": output,
        "nodes": outlined,
    }


def _initial(graph: Message) -> list[str]:
    return [tensor.get("name", "") for tensor in graph.get("initializer", [])]


def _opset(model: Message) -> int:
    versions = [
        entry.get("version", 0)
        for entry in model.get("opset_import", [])
        if entry.get("domain", "") in _OWN_DOMAINS
    ]
    if len(versions) != 1:
        message = f"it names {len(versions)} versions of ONNX's operators"
        raise UnsupportedError(message)
    return int(versions[0])


def _shape(value: Message) -> list[int | None]:
    """Lengths of the input's dimensions, None where they are free."""
    tensor = value.get("type", {}).get("tensor_type")
    if tensor is None or tensor.get("elem_type") != _FLOAT:
        message = "its input is no tensor of 32-bit floats"
        raise UnsupportedError(message)
    dims = tensor.get("shape", {}).get("dim", [])
    # Some writers leave 0 or -1 where they mean a free dimension.
    return [length if (length := dim.get("dim_value", 0)) > 0 else None for dim in dims]


def _check_names(nodes: list[Message], known: set[str], output: str) -> None:
    """Refuse a graph that is no way from its input to its output."""
    ever = known.union(*(node.get("output", []) for node in nodes))
    for number, node in enumerate(nodes):
        what = _told(number, node)
        for name in node.get("input", []):
            if name and name not in ever:
                message = f"{what} takes {name[:80]!r}, which nothing gives"
                raise UnsupportedError(message)
            if name and name not in known:
                message = f"{what} takes {name[:80]!r} before it is there: a cycle, or bad order"
                raise UnsupportedError(message)
        for name in node.get("output", []):
            if name and name in known:
                message = f"{what} gives {name[:80]!r}, which is there already"
                raise UnsupportedError(message)
            known.add(name)
    if not output or output not in known:
        message = f"nothing gives its output {output[:80]!r}"
        raise UnsupportedError(message)


def _told(number: int, node: Message) -> str:
    return f"node {number} ({node.get('op_type', '')[:40]})"


def _is_constant(node: Message) -> bool:
    return node.get("op_type") == "Constant" and node.get("domain", "") in _OWN_DOMAINS


def _lift_constants(nodes: list[Message], held: dict[str, TensorView]) -> None:
    """Put what Constant nodes give among the tensors."""
    for number, node in enumerate(nodes):
        if not _is_constant(node):
            continue
        attributes, outputs = node.get("attribute", []), node.get("output", [])
        if len(attributes) != 1 or len(outputs) != 1 or outputs[0] in held:
            message = f"{_told(number, node)} gives no new constant"
            raise UnsupportedError(message)
        held[outputs[0]] = _constant(attributes[0], node)


def _constant(attribute: Message, node: Message) -> TensorView:
    if attribute.get("type") == _TENSOR and "t" in attribute:
        return tensors.view(attribute["t"])
    value = _plain(attribute, node)
    numbers = value if isinstance(value, list) else [value]
    if any(isinstance(number, str) for number in numbers):
        message = "a Constant holds texts"
        raise UnsupportedError(message)
    dtype, code = ("int64", "q") if attribute.get("type") in _WHOLE else ("float32", "f")
    data = memoryview(struct.pack(f"<{len(numbers)}{code}", *numbers))
    return tensors.contiguous(dtype, (len(numbers),) if isinstance(value, list) else (), data)


def _node(node: Message) -> dict[str, Any]:
    domain = node.get("domain", "")
    if domain not in _OWN_DOMAINS:
        message = f"it has an operator {domain[:80]}::{node.get('op_type', '')[:80]}, not of ONNX"
        raise UnsupportedError(message)
    return {
        "op": node.get("op_type", ""),
        "name": node.get("name", "")[:_MOST_TEXT],
        "inputs": node.get("input", []),
        "outputs": node.get("output", []),
        "attributes": {
            attribute.get("name", ""): _plain(attribute, node)
            for attribute in node.get("attribute", [])
        },
    }


def _plain(attribute: Message, node: Message) -> Any:
    """Give an attribute as a number, a text, or a list of them."""
    kind = _KINDS.get(attribute.get("type", 0), "")
    if not set(attribute) <= {"name", "type", kind}:
        kind = ""  # it says one thing and holds another
    if kind == "f":
        return struct.unpack("<f", attribute.get("f", bytes(4)))[0]
    if kind == "floats":
        packed = b"".join(attribute.get("floats", []))
        return _few(list(struct.unpack(f"<{len(packed) // 4}f", packed)))
    if kind == "i":
        return attribute.get("i", 0)
    if kind == "ints":
        return _few(attribute.get("ints", []))
    if kind == "s" and len(attribute.get("s", b"")) <= _MOST_TEXT:
        return str(attribute.get("s", b""), "utf-8", "replace")
    if kind == "t" and "t" in attribute and (number := _number(attribute["t"])) is not None:
        return number
    what = "a graph" if kind == "g" else f"the attribute {attribute.get('name', '')[:40]!r}"
    message = f"the operator {node.get('op_type', '')[:40]} holds {what}, which is not converted"
    raise UnsupportedError(message)


def _few(numbers: list[Any]) -> list[Any]:
    if len(numbers) > _MOST_NUMBERS:
        message = f"an attribute has {len(numbers):,} numbers"
        raise UnsupportedError(message)
    return numbers


def _number(tensor: Message) -> int | float | None:
    """Give the one number that a tensor holds."""
    view = tensors.view(tensor)
    code = {"int64": "q", "int32": "i", "bool": "?", "float32": "f"}.get(view.dtype)
    if code is None or view.elements != 1:
        return None
    number: int | float = struct.unpack(f"<{code}", view.storage.data)[0]
    return number
