"""The graph of an ONNX file as the gate holds it: what the child told, checked once more."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from gatekeeper.errors import CandidateError

Attribute = int | float | str | tuple[int | float, ...]

_MOST_NODES = 20_000
_MOST_NAMES = 1_000  # of one node
_MOST_TEXT = 10_000
_MOST_LENGTH = 1 << 16  # of one side of the input
_MOST_BATCH = 64  # images that it takes at once
OPSETS = range(9, 31)


@dataclass(frozen=True, kw_only=True)
class Node:
    """One operator: what it takes, what it gives, and its settings."""

    op: str
    name: str
    inputs: tuple[str, ...]  # "" where an optional one is left out
    outputs: tuple[str, ...]
    attributes: dict[str, Attribute]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Nodes in the order in which they run."""

    opset: int
    input: str
    shape: tuple[int | None, ...]  # None: free
    output: str
    nodes: tuple[Node, ...]


def read_graph(told: Any) -> Graph:
    """Check plain words and numbers, and give them as a graph.

    Raises:
        CandidateError: they are none, or its input is no batch of images.
    """
    fields = _mapping(told, {"opset", "input", "shape", "output", "nodes"})
    nodes = _list(fields["nodes"], _MOST_NODES)
    opset = fields["opset"]
    if type(opset) is not int or opset not in OPSETS:
        message = f"the graph is of ONNX's operators {opset!r:.40}, not {OPSETS[0]} to {OPSETS[-1]}"
        raise CandidateError(message, hint="Export it again with a current version of its tool.")
    graph = Graph(
        opset=opset,
        input=_text(fields["input"]),
        shape=_shape(fields["shape"]),
        output=_text(fields["output"]),
        nodes=tuple(_node(node) for node in nodes),
    )
    _check_order(graph)
    return graph


def _shape(told: Any) -> tuple[int | None, ...]:
    dims = tuple(_list(told, 64))
    if len(dims) != 4 or not all(_is_length(dim) for dim in dims):
        shown = ", ".join("?" if dim is None else str(dim)[:20] for dim in dims[:8])
        message = f"the graph takes ({shown}), not images as (batch, channels, height, width)"
        raise CandidateError(message, hint="Export the classifier alone, taking a batch of images.")
    if (dims[0] or 0) > _MOST_BATCH:
        message = f"the graph takes {dims[0]} images at once, more than {_MOST_BATCH}"
        raise CandidateError(message, hint="Export it again with a free batch dimension.")
    return dims


def _is_length(dim: Any) -> bool:
    return dim is None or (type(dim) is int and 0 < dim <= _MOST_LENGTH)


def _node(told: Any) -> Node:
    fields = _mapping(told, {"op", "name", "inputs", "outputs", "attributes"})
    attributes = fields["attributes"]
    if not isinstance(attributes, dict) or len(attributes) > _MOST_NAMES:
        raise _damaged("attributes")
    return Node(
        op=_text(fields["op"]),
        name=_text(fields["name"]),
        inputs=tuple(_text(name) for name in _list(fields["inputs"], _MOST_NAMES)),
        outputs=tuple(_text(name) for name in _list(fields["outputs"], _MOST_NAMES)),
        attributes={_text(name): _attribute(value) for name, value in attributes.items()},
    )


def _attribute(value: Any) -> Attribute:
    if isinstance(value, list):
        return tuple(_number(item) for item in _list(value, _MOST_NAMES))
    return value if isinstance(value, str) and len(value) <= _MOST_TEXT else _number(value)


def _number(value: Any) -> int | float:
    whole = type(value) is int and -(1 << 63) <= value < 1 << 63
    if whole or (isinstance(value, float) and math.isfinite(value)) or isinstance(value, bool):
        number: int | float = value
        return number
    raise _damaged("numbers")


def _check_order(graph: Graph) -> None:
    """Each name is given once; what a node takes is a tensor's or given before it."""
    later = {name for node in graph.nodes for name in node.outputs if name}
    given = {graph.input}
    for node in graph.nodes:
        fresh = [name for name in node.outputs if name]
        if any(name in given for name in fresh) or len(set(fresh)) != len(fresh):
            raise _damaged("names")
        if any(name in later and name not in given for name in node.inputs):
            raise _damaged("order")
        given.update(fresh)


def _mapping(told: Any, keys: set[str]) -> dict[str, Any]:
    if not isinstance(told, dict) or set(told) != keys:
        raise _damaged("fields")
    return told


def _list(told: Any, most: int) -> list[Any]:
    if not isinstance(told, list) or len(told) > most:
        raise _damaged("lists")
    return told


def _text(told: Any) -> str:
    if not isinstance(told, str) or len(told) > _MOST_TEXT:
        raise _damaged("texts")
    return told


def _damaged(what: str) -> CandidateError:
    return CandidateError(f"the quarantine's answer is damaged: {what} of the graph")
