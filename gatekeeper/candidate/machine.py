"""The unpickler's stack and memo, followed as far as names and what they are given need it."""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable
from typing import cast

from gatekeeper.candidate.allowed import is_known_module
from gatekeeper.candidate.machine_values import (
    BYTES,
    CONSTANTS,
    FLOATS,
    MARK,
    OBJECT,
    WHOLE,
    Global,
    Items,
    LimitError,
    Made,
    Value,
    encoded,
    is_called,
    is_filled,
    misuse,
    set_up,
    value_of,
)
from gatekeeper.candidate.makers import FROM_TYPE, asked_for, is_honest_type, steps_of
from gatekeeper.candidate.numpy_calls import (
    Dtype,
    OddCallError,
    is_followed,
    made,
)
from gatekeeper.candidate.partials import PARTIAL, Partial, Settings, bound

_MOST_STACK = 200_000
_MOST_GLOBALS = 10_000
_MOST_EARLIER = 1 << 20  # things that were kept by pickles before this one
_MOST_ASKED = 1 << 28  # bytes or items that a call may make out of nothing
_LONGEST_TEXT, _LONGEST_TUPLE = 1000, 64
_EXECUTING = frozenset({"REDUCE", "OBJ", "INST", "NEWOBJ", "NEWOBJ_EX", "BUILD"})
_STRINGS = frozenset(
    {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE",
     "BINUNICODE8"}
)  # fmt: skip
_STORAGE = ("storage", b"storage")
_UNKNOWN = "<persistent id>"  # what was not followed; told only where more is done than passing it
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Machine:
    """Takes one opcode after another."""

    def __init__(self) -> None:
        """Begin with nothing on the stack."""
        self.stack: list[Value] = []
        self.memo: dict[int, Value] = {}
        self.globals: list[Global] = []
        self.executes = False
        self.excess = ""  # what would fill the memory
        self.result: Value = None
        # By key: kind and count of elements; None where it is declared twice, differently.
        self.storages: dict[str, tuple[str, int] | None] = {}

    def take(self, opcode: pickletools.OpcodeInfo, argument: object, position: int) -> None:
        """Do to the stack what the unpickler would.

        Raises:
            LimitError: there is too much to keep.
            IndexError, KeyError: the stack or the memo lacks what the opcode needs.
        """
        take, executes = _TAKEN.get(opcode.name, _GENERIC)
        take(self, opcode, argument, position)
        # Only now: an opcode that finds nothing on the stack executes nothing.
        if executes:
            self.executes = True

    def _text(self, _: pickletools.OpcodeInfo, argument: object, __: int) -> None:
        # A long text is no name, and many of them would fill the memory.
        self._push(
            argument if isinstance(argument, str) and len(argument) <= _LONGEST_TEXT else None
        )

    def _named(self, opcode: pickletools.OpcodeInfo, argument: object, position: int) -> None:
        called = opcode.name == "INST"
        words = self._pop_to_mark() if called else []
        room, _, leaf = str(argument).partition("\n")
        found = self._import(room, leaf, position, called=called)
        if called:
            self.stack[-1] = self._made(found, tuple(words))

    def _stacked(self, _: pickletools.OpcodeInfo, __: object, position: int) -> None:
        attribute, module = self.stack.pop(), self.stack.pop()
        if isinstance(attribute, str) and isinstance(module, str):
            self._import(module, attribute, position)
        else:
            self._import("", "<computed name>", position)

    def _extension(self, _: pickletools.OpcodeInfo, argument: object, position: int) -> None:
        self._import("", f"<extension {argument}>", position)

    def _put(self, _: pickletools.OpcodeInfo, argument: object, position: int) -> None:
        index = cast(int, argument)
        # Unpicklers make room up to there; savers count on from pickle to pickle.
        if index > position + _MOST_EARLIER and not self.excess:
            self.excess = f"keeps something as number {index:,}"
        self.memo[index] = self.stack[-1]

    def _memoize(self, _: pickletools.OpcodeInfo, __: object, ___: int) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _get(self, _: pickletools.OpcodeInfo, argument: object, __: int) -> None:
        self._push(self.memo[argument])  # type: ignore[index]  # a number, by its opcode

    def _again(self, _: pickletools.OpcodeInfo, __: object, ___: int) -> None:
        self._push(self.stack[-1])

    def _mark(self, _: pickletools.OpcodeInfo, __: object, ___: int) -> None:
        self._push(MARK)

    def _drop(self, _: pickletools.OpcodeInfo, __: object, ___: int) -> None:
        self._pop_to_mark()

    def _plain(self, opcode: pickletools.OpcodeInfo, argument: object, _: int) -> None:
        self._push(value_of(opcode.name, argument))

    def _settings(self, opcode: pickletools.OpcodeInfo, _: object, __: int) -> None:
        settings = Settings()
        if opcode.name == "DICT":
            given = self._pop_to_mark()
            self._used(given, "passed")
            settings.put(cast(list[object], given))
        self._push(settings)

    def _items(self, opcode: pickletools.OpcodeInfo, _: object, __: int) -> None:
        items = Items()
        if opcode.name == "LIST":
            given = self._pop_to_mark()
            self._used(given, "passed")
            items.put(given)
        self._push(items)

    def _stop(self, _: pickletools.OpcodeInfo, __: object, ___: int) -> None:
        self.result = self.stack.pop()
        self._used([self.result], "passed")

    def _persistent(self, _: pickletools.OpcodeInfo, __: object, position: int) -> None:
        self._push(self._kept(position))

    def _grouped(self, opcode: pickletools.OpcodeInfo, _: object, __: int) -> None:
        self._push(self._tuple(opcode.name))

    def _applied(self, opcode: pickletools.OpcodeInfo, _: object, position: int) -> None:
        self._apply(opcode.name, position)

    def _tuple(self, name: str) -> Value:
        count = _TUPLES.get(name)
        items = self._pop_to_mark() if count is None else [self.stack.pop() for _ in range(count)]
        self._used(items, "passed")
        if len(items) > _LONGEST_TUPLE:
            return None
        return tuple(items if count is None else items[::-1])

    def _kept(self, position: int) -> Value:
        """Give what a persistent id leads to: a storage, or what a legacy file keeps, as it is.

        Torch hands on whatever stands where a legacy file keeps a class beside its source, so it
        may be called, created from and overwritten like any other.
        """
        told = self.stack.pop()
        self._used([told], "passed")
        if isinstance(told, tuple) and told and told[0] in _STORAGE:
            self._declare(told)
            return None
        kept = told[1] if isinstance(told, tuple) and len(told) > 1 else None
        return Global(_UNKNOWN, position) if kept is None else cast(Value, kept)

    def _declare(self, told: tuple[Value, ...]) -> None:
        _, kind, key, _, count = told[:5] if len(told) >= 5 else (None,) * 5
        if isinstance(kind, Global) and isinstance(key, str) and type(count) is int:
            storage = (kind.name.rpartition(".")[2], count)
            if self.storages.setdefault(key, storage) != storage:
                self.storages[key] = None

    def _apply(self, name: str, position: int) -> None:
        """Note what is done to a global: created from, called, or written into."""
        if name == "OBJ":
            first, *words = self._pop_to_mark()
            self._used(words, "passed")
            self._push(self._call(first, tuple(words), "called", position))
            return
        if name in ("SETITEMS", "APPENDS", "ADDITEMS"):
            given = self._pop_to_mark()
        else:
            given = [self.stack.pop() for _ in range({"NEWOBJ_EX": 2, "SETITEM": 2}.get(name, 1))]
        self._used(given, "passed")
        if name in ("NEWOBJ", "NEWOBJ_EX", "REDUCE"):
            given_words = None if name == "NEWOBJ_EX" else given[0]
            how = "called" if name == "REDUCE" else "created"
            self._push(self._call(self.stack.pop(), given_words, how, position))
        else:
            self._used(self.stack[-1:], "overwritten")
            target = self.stack[-1] if self.stack else None
            if name == "BUILD":
                honest = set_up(target, given[0])
            else:
                honest = is_filled(target, mapping=name.startswith("SETITEM"))
            if not honest:
                self._odd(target, position)
            if isinstance(target, Items):
                target.put(given)
            if isinstance(target, Settings) and name.startswith("SETITEM"):
                items = given if name == "SETITEMS" else given[::-1]
                if not target.put(cast(list[object], items)):
                    for owner in target.owners:
                        misuse(owner)

    def _call(self, maker: Value, words: Value, how: str, position: int) -> Value:
        self._used([maker], how)
        if not is_called(maker):
            self._odd(maker, position)
        return self._made(maker, words)

    def _odd(self, value: Value, position: int) -> None:
        """Note that something is done to a value that is done to no such value."""
        if isinstance(value, Made):
            misuse(value)
        elif not self.globals or self.globals[-1].name != OBJECT:  # once is enough to block
            self._import("", OBJECT, position, push=False)

    def _made(self, maker: Value, words: Value) -> Value:
        """Give what a call makes, where what is done to that counts, too."""
        if isinstance(maker, Partial):
            misuse(maker)
        if not isinstance(maker, Global):
            return None
        if maker.name == "_codecs.encode":  # how bytes are written before protocol 3
            latin = isinstance(words, tuple) and len(words) == 2 and words[1] == "latin1"
            return encoded(cast(tuple[Value, ...], words)[0]) if latin else None
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
        if (much := asked_for(maker.name, words)) > _MOST_ASKED and not self.excess:
            self.excess = f"asks for {maker.name} of {much:,}"
        if maker.name == FROM_TYPE and not is_honest_type(words):
            maker.uses.add("misused")
        if is_known_module(maker.name) and words != ():
            maker.uses.add("misused")  # a layer is made empty, then given its state
        # Its attributes were chosen by the pickle already.
        complete = maker.name.endswith(("_rebuild_parameter_with_state", FROM_TYPE))
        return Made(maker, complete=complete, steps=steps_of(maker.name, words))

    def _generic(self, opcode: pickletools.OpcodeInfo, _: object, __: int) -> None:
        if pickletools.stackslice in opcode.stack_before:
            self._used(self._pop_to_mark(), "passed")
        else:
            for _ in opcode.stack_before:
                self._used([self.stack.pop()], "passed")
        for _ in opcode.stack_after:
            self._push(None)

    def _import(
        self, module: str, attribute: str, position: int, *, called: bool = False, push: bool = True
    ) -> Global:
        if len(self.globals) >= _MOST_GLOBALS:
            message = f"{_MOST_GLOBALS:,} imports"
            raise LimitError(message)
        name = f"{module}.{attribute}" if module else attribute
        found = Global(name, position, {"called"} if called else set(), "." in attribute)
        self.globals.append(found)
        if push:
            self._push(found)
        return found

    def _used(self, values: list[Value], how: str) -> None:
        for value in values:
            if isinstance(value, Global):
                if value.name == _UNKNOWN and how != "passed" and value.uses <= {"passed"}:
                    self.globals.append(value)
                value.uses.add(how)

    def _push(self, value: Value) -> None:
        if len(self.stack) >= _MOST_STACK:
            message = f"a stack of {_MOST_STACK:,}"
            raise LimitError(message)
        self.stack.append(value)

    def _pop_to_mark(self) -> list[Value]:
        items: list[Value] = []
        while (value := self.stack.pop()) is not MARK:
            items.append(value)
        return items[::-1]


_Take = Callable[[Machine, pickletools.OpcodeInfo, object, int], None]
_GROUPS: tuple[tuple[Iterable[str], _Take], ...] = (
    (_STRINGS, Machine._text),
    (("GLOBAL", "INST"), Machine._named),
    (("STACK_GLOBAL",), Machine._stacked),
    (("EXT1", "EXT2", "EXT4"), Machine._extension),
    (("PUT", "BINPUT", "LONG_BINPUT"), Machine._put),
    (("MEMOIZE",), Machine._memoize),
    (("GET", "BINGET", "LONG_BINGET"), Machine._get),
    (("DUP",), Machine._again),
    (("MARK",), Machine._mark),
    (("POP_MARK",), Machine._drop),
    (("NEWOBJ", "NEWOBJ_EX", "REDUCE", "OBJ", "BUILD"), Machine._applied),
    (("SETITEM", "SETITEMS", "APPEND", "APPENDS", "ADDITEMS"), Machine._applied),
    ((*CONSTANTS, *WHOLE, *BYTES, *FLOATS), Machine._plain),
    (("EMPTY_DICT", "DICT"), Machine._settings),
    (("EMPTY_LIST", "LIST", "EMPTY_SET"), Machine._items),
    (("BINPERSID",), Machine._persistent),
    (("STOP",), Machine._stop),
    (("TUPLE", *_TUPLES), Machine._grouped),
)
# What stands nowhere here only takes from the stack and gives to it.
_GENERIC: tuple[_Take, bool] = (Machine._generic, False)
_TAKEN = {name: (take, name in _EXECUTING) for names, take in _GROUPS for name in names}
