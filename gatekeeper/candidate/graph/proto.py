"""The messages of ONNX, read strictly: what the format does not know is refused, not passed over.

Two readers that differ see two networks in one file. Protobuf merges what stands twice and skips
what it does not know; here both end the reading, so that nobody else can see more than we did.
"""

from __future__ import annotations

from typing import Any

from gatekeeper.candidate.graph import wire
from gatekeeper.candidate.graph.wire import Budget, WireError

_MOST_DEPTH = 40
# A message -> field number -> name and type; * stands for a repeated field, - for one that
# nothing here needs.
_TABLES = {
    "model": "1 ir_version int, 2 - bytes, 3 - bytes, 4 - bytes, 5 - int, 6 - bytes, 7 graph graph,"
    "8 opset_import* opset, 14 -* bytes, 20 training_info* training, 25 functions* function,"
    "26 -* bytes",
    "graph": "1 node* node, 2 name text, 5 initializer* tensor, 10 - bytes, 11 input* value,"
    "12 output* value, 13 -* bytes, 14 -* bytes, 15 sparse_initializer* sparse, 16 -* bytes",
    "node": "1 input* text, 2 output* text, 3 name text, 4 op_type text, 5 attribute* attribute,"
    "6 - bytes, 7 domain text, 8 overload text, 9 -* bytes, 10 -* bytes",
    "attribute": "1 name text, 2 f float, 3 i int, 4 s bytes, 5 t tensor, 6 g graph,"
    "7 floats* float, 8 ints* int, 9 strings* bytes, 10 tensors* tensor, 11 graphs* graph,"
    "13 - bytes, 14 tp bytes, 15 type_protos* bytes, 20 type int, 21 ref_attr_name text,"
    "22 sparse_tensor sparse, 23 sparse_tensors* sparse",
    "tensor": "1 dims* int, 2 data_type int, 3 segment bytes, 4 float_data* float,"
    "5 int32_data* int, 6 string_data* bytes, 7 int64_data* int, 8 name text, 9 raw_data bytes,"
    "10 double_data* double, 11 uint64_data* int, 12 - bytes, 13 external_data* entry,"
    "14 data_location int, 16 -* bytes",
    "sparse": "1 values tensor, 2 indices tensor, 3 dims* int",
    "entry": "1 key text, 2 value text",
    "value": "1 name text, 2 type type, 3 - bytes, 4 -* bytes",
    "type": "1 tensor_type tensor_type, 4 other bytes, 5 other bytes, 6 - bytes, 7 other bytes,"
    "8 other bytes, 9 other bytes",
    "tensor_type": "1 elem_type int, 2 shape shape",
    "shape": "1 dim* dim",
    "dim": "1 dim_value int, 2 dim_param text, 3 - bytes",
    "opset": "1 domain text, 2 version int",
    "function": "1 name text, 4 -* bytes, 5 -* bytes, 6 -* bytes, 7 node* node, 8 - bytes,"
    "9 -* bytes, 10 domain text, 11 attribute_proto* attribute, 12 -* bytes, 13 - bytes,"
    "14 -* bytes",
    "training": "1 initialization graph, 2 algorithm graph, 3 -* bytes, 4 -* bytes",
}
_WIRE_TYPES = {"int": wire.VARINT, "float": wire.FIXED32, "double": wire.FIXED64}


class Message(dict[str, Any]):
    """The fields of one message by name; lists where the format repeats them."""

    kind = ""


def _table(text: str) -> dict[int, tuple[str, str, bool]]:
    rows = (row.split() for row in text.split(","))
    return {int(n): (name.rstrip("*"), kind, name.endswith("*")) for n, name, kind in rows}


_SCHEMAS = {kind: _table(text) for kind, text in _TABLES.items()}


def read_model(data: memoryview) -> Message:
    """Read a whole model; tensors' bytes are views of `data`.

    Raises:
        WireError: with what is wrong.
    """
    return _read(data, "model", Budget(), 0)


def _read(data: memoryview, kind: str, budget: Budget, depth: int) -> Message:
    if depth > _MOST_DEPTH:
        message = f"it is nested deeper than {_MOST_DEPTH} messages"
        raise WireError(message)
    found = Message()
    found.kind = kind
    schema = _SCHEMAS[kind]
    for number, wired, value in wire.fields(data, budget):
        if number not in schema:
            message = f"a {kind} has a field {number}, which ONNX does not know"
            raise WireError(message)
        name, of, repeated = schema[number]
        items = _items(value, wired, of, budget, depth, repeated=repeated)
        if name == "-":
            continue
        if repeated:
            found.setdefault(name, []).extend(items)
        elif name in found:
            message = f"a {kind} has two fields {name}"
            raise WireError(message)
        else:
            found[name] = items[0]
    return found


def _items(
    value: int | memoryview, wired: int, of: str, budget: Budget, depth: int, *, repeated: bool
) -> list[Any]:
    """Give what one field holds: one item, or the several that are packed into it."""
    if of in _WIRE_TYPES:
        if wired == _WIRE_TYPES[of]:
            return [wire.signed(value) if isinstance(value, int) else value]
        if not repeated or isinstance(value, int) or wired != wire.BYTES:
            message = f"a number is written as wire type {wired}"
            raise WireError(message)
        if of == "int":
            return [wire.signed(number) for number in wire.varints(value, budget)]
        return [value]  # many at once, as they lie there
    if isinstance(value, int) or wired != wire.BYTES:
        message = f"bytes are written as wire type {wired}"
        raise WireError(message)
    if of == "bytes":
        return [value]
    if of == "text":
        try:
            return [str(value, "utf-8")]
        except UnicodeDecodeError:
            message = "a name is not UTF-8"
            raise WireError(message) from None
    return [_read(value, of, budget, depth + 1)]
