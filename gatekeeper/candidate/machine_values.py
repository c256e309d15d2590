"""What the machine keeps of a pickle's values: names, plain values, and what follows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from gatekeeper.candidate.allowed import may_hold
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
OBJECT = "<an object>"  # that no name made, or not for such a use


@dataclass
class Global:
    """A name that the stream imports, where it stands, and how it is used."""

    name: str
    offset: int  # bytes from the start of the stream
    uses: set[str] = field(default_factory=set)  # created|called|overwritten|passed|misused|objects
    dotted: bool = False  # an attribute of an attribute of its module


@dataclass(eq=False, slots=True)
class Made:
    """What a name made, and whether it has its state: nothing honest gives it another one."""

    maker: Global
    complete: bool = False
    steps: int = 0  # that a range goes through for whoever asks for them all


@dataclass(eq=False, slots=True)
class Items:
    """A list or a set; `words` are its items where all are short texts, else None."""

    words: list[str] | None = field(default_factory=list)

    def put(self, values: list[Value]) -> None:
        """Note what is put into it."""
        if self.words is not None and all(isinstance(value, str) for value in values):
            self.words += cast(list[str], values)
        else:
            self.words = None


class LimitError(Exception):
    """A bound of ours ends the walk, where another reader would go on."""


class Mark:
    """The stack's own marker."""


MARK = Mark()
# None is what is not followed. Bytes are cut short: nobody needs more than their beginning.
Value = (
    Global | str | int | float | bytes | tuple[Any, ...] | Dtype | Array | Settings | Partial
    | Made | Items | Nothing | Mark | None
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


def is_called(maker: Value) -> bool:
    """Tell whether a call of this is known by a name; whatever else is called may be anything."""
    return isinstance(maker, (Global, Partial))


def is_filled(target: Value, *, mapping: bool) -> bool:
    """Tell whether items may be put into this, and not into whatever it calls its `append`."""
    if isinstance(target, (Global, Settings if mapping else Items)):
        return True
    return isinstance(target, Made) and may_hold(target.maker.name, mapping=mapping)


def set_up(target: Value, state: Value) -> bool:
    """Follow what BUILD does to what was made before; tell whether that is as it should be.

    A state may hold a `__setstate__`, which the next one would be given to.
    """
    if isinstance(target, Made):
        again, target.complete = target.complete, True
        return not again
    try:
        if isinstance(target, (Dtype, Array)):
            set_state(target, state)
        elif isinstance(target, Partial):
            check_state(target, state)
    except OddCallError:
        misuse(cast(Dtype | Array | Partial, target))
    return isinstance(target, (Global, Dtype, Array, Partial))


def misuse(made_before: Dtype | Array | Partial | Made) -> None:
    """Note that something odd was done with what a name made."""
    cast(Global, made_before.maker).uses.add("misused")
