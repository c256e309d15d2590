"""What in an ONNX file reaches out of it: tensors in other files, operators that run code."""

from __future__ import annotations

from collections.abc import Iterator

from gatekeeper.candidate.graph import tensors
from gatekeeper.candidate.graph.proto import Message
from gatekeeper.candidate.standins import UnsupportedError

# Operators that run code or load what stands elsewhere; the second name is that of onnxruntime's
# extensions, whose every operator comes from a library that is loaded for it.
_RUNS = frozenset({"PythonOp", "PythonOpGrad", "PyOp", "PyCustomOp", "ATen", "EPContext"})
_LOADED = frozenset({"ai.onnx.contrib", "com.microsoft.extensions"})
_MEMORY = "_ORT_MEM_ADDR_"
_PLACES = ("offset", "length")


class HostileError(Exception):
    """What no honest file has; `rule` names it in `rules.py`."""

    def __init__(self, rule: str, message: str) -> None:
        """Keep the rule beside the words."""
        super().__init__(message)
        self.rule = rule


def sweep(model: Message) -> None:
    """Look at every tensor and operator, also of functions, inner graphs and training.

    Raises:
        HostileError: a tensor points out of the file's folder, or an operator runs code.
        MalformedError: a tensor does not fit its bytes.
        UnsupportedError: a tensor stands in a file beside this one.
    """
    beside = ""
    for part in _parts(model):
        if part.kind == "node":
            _check_operator(part)
        elif part.kind == "tensor":
            beside = _outside(part) or beside
            tensors.check(part)
    if beside:
        message = (
            f"{beside}, which is not read: save it with the weights inside "
            "(onnx.save_model with save_as_external_data=False)"
        )
        raise UnsupportedError(message)


def _parts(message: Message) -> Iterator[Message]:
    """Give this message and all within; their depth was bounded when they were read."""
    yield message
    for held in message.values():
        for item in held if isinstance(held, list) else (held,):
            if isinstance(item, Message):
                yield from _parts(item)


def _check_operator(node: Message) -> None:
    name, domain = node.get("op_type", ""), node.get("domain", "")
    if name in _RUNS or domain in _LOADED:
        shown = f"{domain}::{name}".removeprefix("::")[:80]
        message = f"the operator {shown!r} runs code that came with it or stands elsewhere"
        raise HostileError("foreign-operator", message)


def _outside(tensor: Message) -> str:
    """Say which neighbour a tensor stands in; "" where it stands in the file itself."""
    entries = tensor.get("external_data", [])
    where = tensor.get("data_location", 0)
    if not entries and where == 0:
        return ""
    given = {entry.get("key", ""): entry.get("value", "") for entry in entries}
    location, name = given.get("location", ""), tensors.told(tensor)
    # As either system reads it: the gate's is not the one that would load it.
    parts = location.replace("\\", "/").split("/")
    leaves = not parts[0] or ".." in parts or ":" in location or "\0" in location
    if leaves or _MEMORY in location or where != 1 or len(given) != len(entries):
        message = f"{name} says that its bytes stand outside of the file's folder, {location!r}"
        raise HostileError("external-data", message[:400])
    for place in _PLACES:
        digits = given.get(place, "0")
        if not (digits.isascii() and digits.isdigit()):
            message = f"{name} says that its bytes begin or end at {digits[:40]!r} of {location!r}"
            raise HostileError("external-data", message[:400])
    return f"{name} stands in another file, {location[:80]!r}"
