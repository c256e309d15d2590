"""What the machine keeps of a pickle's values: names, plain values, and what follows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from gatekeeper.candidate.numpy_calls import (
    NOTHING,
    Array,
    Dtype,
    Nothing,
    OddCallError,
    set_state,
)
from gatekeeper.candidate.partials import Partial, Settings, check_state

_KEPT_BYTES = 16
_LARGEST = 1 << 63
BYTES = frozenset({"SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"})
WHOLE = frozenset({"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"})
FLOATS = frozenset({"FLOAT", "BINFLOAT"})


@dataclass
class Global:
    """A name that the stream imports, where it stands, and how it is used."""

    name: str
    offset: int  # bytes from the start of the stream
    uses: set[str] = field(default_factory=set)  # created|called|overwritten|passed|misused|objects
    dotted: bool = False  # an attribute of an attribute of its module


class LimitError(Exception):
    """A bound of ours ends the walk, where another reader would go on."""


class Mark:
    """The stack's own marker."""


MARK = Mark()
# None is what is not followed. Bytes are cut short: nobody needs more than their beginning.
Value = (
    Global | str | int | float | bytes | tuple[Any, ...] | Dtype | Array | Settings | Partial
    | Nothing | Mark | None
)  # fmt: skip
CONSTANTS: dict[str, Value] = {
    "NONE": NOTHING, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": (),
}  # fmt: skip


def value_of(name: str, argument: object) -> Value:
    """Give what a plain opcode puts on the stack."""
    if name in CONSTANTS:
        return CONSTANTS[name]
    if name in WHOLE:
        known = isinstance(argument, int) and abs(argument) < _LARGEST
        return cast(int, argument) if known else None
    if name in FLOATS:
        return cast(float, argument)
    return bytes(cast(bytes, argument)[:_KEPT_BYTES])


def encoded(text: Value) -> bytes:
    """Give the first bytes of what `_codecs.encode` makes of `text`."""
    return text[:_KEPT_BYTES].encode("latin-1", "replace") if isinstance(text, str) else b"?" * 16


def set_up(target: Value, state: Value) -> None:
    """Follow what BUILD does to what was made before."""
    try:
        if isinstance(target, (Dtype, Array)):
            set_state(target, state)
        elif isinstance(target, Partial):
            check_state(target, state)
    except OddCallError:
        misuse(cast(Dtype | Array | Partial, target))


def misuse(made_before: Dtype | Array | Partial) -> None:
    """Note that something odd was done with what a name made."""
    cast(Global, made_before.maker).uses.add("misused")
