"""The unpickler's stack and memo, followed as far as names and what they are given need it."""

from __future__ import annotations

import pickletools
from dataclasses import dataclass, field
from typing import Any, cast

from gatekeeper.candidate.numpy_calls import (
    NOTHING,
    Array,
    Dtype,
    Nothing,
    OddCallError,
    is_followed,
    made,
    set_state,
)
from gatekeeper.candidate.partials import PARTIAL, Kept, Partial, Settings, bound, check_state

_MOST_STACK = 200_000
_MOST_GLOBALS = 10_000
_LONGEST_TEXT, _LONGEST_TUPLE, _KEPT_BYTES = 1000, 64, 16
_LARGEST = 1 << 63
_EXECUTING = frozenset({"REDUCE", "OBJ", "INST", "NEWOBJ", "NEWOBJ_EX", "BUILD"})
_STRINGS = frozenset(
    {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE",
     "BINUNICODE8"}
)  # fmt: skip
_BYTES = frozenset({"SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"})
_WHOLE = frozenset({"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"})
_FLOATS = frozenset({"FLOAT", "BINFLOAT"})
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass
class Global:
    """A name that the stream imports, where it stands, and how it is used."""

    name: str
    offset: int  # bytes from the start of the stream
    uses: set[str] = field(default_factory=set)  # created|called|overwritten|passed|misused|objects
    dotted: bool = False  # an attribute of an attribute of its module


class LimitError(Exception):
    """A bound of ours ends the walk, where another reader would go on."""


class _Mark:
    """The stack's own marker."""


_MARK = _Mark()
# None is what is not followed. Bytes are cut short: nobody needs more than their beginning.
_Value = (
    Global | str | int | float | bytes | tuple[Any, ...] | Dtype | Array | Settings | Kept | Partial
    | Nothing | _Mark | None
)  # fmt: skip
_CONSTANTS: dict[str, _Value] = {
    "NONE": NOTHING, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": (),
}  # fmt: skip


class Machine:
    """Takes one opcode after another."""

    def __init__(self) -> None:
        """Begin with nothing on the stack."""
        self.stack: list[_Value] = []
        self.memo: dict[int, _Value] = {}
        self.globals: list[Global] = []
        self.executes = False

    def take(self, opcode: pickletools.OpcodeInfo, argument: object, position: int) -> None:
        """Do to the stack what the unpickler would.

        Raises:
            LimitError: there is too much to keep.
            IndexError, KeyError: the stack or the memo lacks what the opcode needs.
        """
        name = opcode.name
        if name in _STRINGS:
            # A long text is no name, and many of them would fill the memory.
            short = isinstance(argument, str) and len(argument) <= _LONGEST_TEXT
            self._push(cast(str, argument) if short else None)
        elif name in ("GLOBAL", "INST"):
            words = self._pop_to_mark() if name == "INST" else []
            room, _, leaf = str(argument).partition("\n")
            found = self._import(room, leaf, position, called=name == "INST")
            if name == "INST":
                self.stack[-1] = self._made(found, tuple(words))
        elif name == "STACK_GLOBAL":
            attribute, module = self.stack.pop(), self.stack.pop()
            if isinstance(attribute, str) and isinstance(module, str):
                self._import(module, attribute, position)
            else:
                self._import("", "<computed name>", position)
        elif name in ("EXT1", "EXT2", "EXT4"):
            self._import("", f"<extension {argument}>", position)
        else:
            self._other(name, opcode, argument)
        # Only now: an opcode that finds nothing on the stack executes nothing.
        self.executes |= name in _EXECUTING

    def _other(self, name: str, opcode: pickletools.OpcodeInfo, argument: object) -> None:
        if name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[cast(int, argument)] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self._push(self.memo[cast(int, argument)])
        elif name == "DUP":
            self._push(self.stack[-1])
        elif name == "MARK":
            self._push(_MARK)
        elif name == "POP_MARK":
            self._pop_to_mark()
        elif name in ("NEWOBJ", "NEWOBJ_EX", "REDUCE", "OBJ", "BUILD", "SETITEM", "SETITEMS",
                      "APPEND", "APPENDS", "ADDITEMS"):  # fmt: skip
            self._apply(name)
        elif name in _CONSTANTS or name in _WHOLE or name in _BYTES or name in _FLOATS:
            self._push(_value(name, argument))
        elif name == "EMPTY_DICT":
            self._push(Settings())
        elif name == "BINPERSID":
            self._push(self._kept())
        elif name == "TUPLE" or name in _TUPLES:
            self._push(self._tuple(name))
        else:
            self._generic(opcode)

    def _tuple(self, name: str) -> _Value:
        count = _TUPLES.get(name)
        items = self._pop_to_mark() if count is None else [self.stack.pop() for _ in range(count)]
        self._used(items, "passed")
        if len(items) > _LONGEST_TUPLE:
            return None
        return tuple(items if count is None else items[::-1])

    def _kept(self) -> _Value:
        """Follow a class of torch that a legacy file keeps with its source."""
        told = self.stack.pop()
        self._used([told], "passed")
        module = isinstance(told, tuple) and len(told) > 1 and told[0] == "module"
        return Kept(cast(tuple[_Value, ...], told)[1]) if module else None

    def _apply(self, name: str) -> None:
        """Note what is done to a global: created from, called, or written into."""
        if name == "OBJ":
            first, *words = self._pop_to_mark()
            self._used([first], "called")
            self._used(words, "passed")
            self._push(self._made(first, tuple(words)))
            return
        if name in ("SETITEMS", "APPENDS", "ADDITEMS"):
            given = self._pop_to_mark()
        else:
            given = [self.stack.pop() for _ in range({"NEWOBJ_EX": 2, "SETITEM": 2}.get(name, 1))]
        self._used(given, "passed")
        if name in ("NEWOBJ", "NEWOBJ_EX", "REDUCE"):
            maker = self.stack.pop()
            self._used([maker], "called" if name == "REDUCE" else "created")
            self._push(self._made(maker, None if name == "NEWOBJ_EX" else given[0]))
        else:
            self._used(self.stack[-1:], "overwritten")
            target = self.stack[-1] if self.stack else None
            if name == "BUILD":
                _build(target, given[0])
            elif isinstance(target, Settings):
                items = given if name == "SETITEMS" else given[::-1]
                if not target.put(cast(list[object], items)):
                    for owner in target.owners:
                        _misused(owner)

    def _made(self, maker: _Value, words: _Value) -> _Value:
        """Give what a call makes, where what is done to that counts, too."""
        if isinstance(maker, Partial):
            _misused(maker)
        if not isinstance(maker, Global):
            return None
        if maker.name == "_codecs.encode":  # how bytes are written before protocol 3
            latin = isinstance(words, tuple) and len(words) == 2 and words[1] == "latin1"
            return _encoded(cast(tuple[_Value, ...], words)[0]) if latin else None
        if is_followed(maker.name) or maker.name == PARTIAL:
            try:
                if maker.name == PARTIAL:
                    return bound(maker, words)
                value = made(maker.name, maker, words)
                if isinstance(value, Dtype) and value.objects:
                    maker.uses.add("objects")
                return value
            except OddCallError:
                maker.uses.add("misused")
        return None

    def _generic(self, opcode: pickletools.OpcodeInfo) -> None:
        if pickletools.stackslice in opcode.stack_before:
            self._used(self._pop_to_mark(), "passed")
        else:
            for _ in opcode.stack_before:
                self._used([self.stack.pop()], "passed")
        for _ in opcode.stack_after:
            self._push(None)

    def _import(
        self, module: str, attribute: str, position: int, *, called: bool = False
    ) -> Global:
        if len(self.globals) >= _MOST_GLOBALS:
            message = f"{_MOST_GLOBALS:,} imports"
            raise LimitError(message)
        name = f"{module}.{attribute}" if module else attribute
        found = Global(name, position, {"called"} if called else set(), "." in attribute)
        self.globals.append(found)
        self._push(found)
        return found

    def _used(self, values: list[_Value], how: str) -> None:
        for value in values:
            if isinstance(value, Global):
                value.uses.add(how)

    def _push(self, value: _Value) -> None:
        if len(self.stack) >= _MOST_STACK:
            message = f"a stack of {_MOST_STACK:,}"
            raise LimitError(message)
        self.stack.append(value)

    def _pop_to_mark(self) -> list[_Value]:
        items: list[_Value] = []
        while (value := self.stack.pop()) is not _MARK:
            items.append(value)
        return items[::-1]


def _value(name: str, argument: object) -> _Value:
    if name in _CONSTANTS:
        return _CONSTANTS[name]
    if name in _WHOLE:
        known = isinstance(argument, int) and abs(argument) < _LARGEST
        return cast(int, argument) if known else None
    if name in _FLOATS:
        return cast(float, argument)
    return bytes(cast(bytes, argument)[:_KEPT_BYTES])


def _encoded(text: _Value) -> bytes:
    return text[:_KEPT_BYTES].encode("latin-1", "replace") if isinstance(text, str) else b"?" * 16


def _build(target: _Value, state: _Value) -> None:
    try:
        if isinstance(target, (Dtype, Array)):
            set_state(target, state)
        elif isinstance(target, Partial):
            check_state(target, state)
    except OddCallError:
        _misused(cast(Dtype | Array | Partial, target))


def _misused(made_before: Dtype | Array | Partial) -> None:
    cast(Global, made_before.maker).uses.add("misused")
