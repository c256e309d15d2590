"""A bounded walk over pickle opcodes: every global a stream would import, without importing any.

Default deny: what is not on the short list of harmless constructors is a finding.
"""

from __future__ import annotations

import pickletools
import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from gatekeeper.candidate.allowed import JOBLIB, METACLASSES, is_allowed, is_module_name
from gatekeeper.candidate.opcodes import FrameError, opcodes

MOST_OPCODES = 1_000_000
_MOST_ARGUMENT = 256 << 20  # bytes of one argument
_MOST_STACK = 200_000
_MOST_GLOBALS = 10_000
_LONGEST_LINE = 32 << 20  # the header of a safetensors file is one
_EXECUTING = frozenset({"REDUCE", "OBJ", "INST", "NEWOBJ", "NEWOBJ_EX", "BUILD"})
_TOO_LONG = "longer than"
_STRINGS = frozenset(
    {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE",
     "BINUNICODE8"}
)  # fmt: skip
_NAME = re.compile(r"^([\w.-]{1,300}|<[\w ]+>)$")


@dataclass
class Global:
    """A name that the stream imports, where it stands, and how it is used."""

    name: str
    offset: int  # bytes from the start of the stream
    uses: set[str] = field(default_factory=set)  # created | called | overwritten | passed
    dotted: bool = False  # an attribute of an attribute of its module


@dataclass(frozen=True, kw_only=True)
class Walk:
    """What one pickle would do; `broken` says why the walk ended early, "" where it ended well."""

    globals: tuple[Global, ...]
    executes: bool
    broken: str
    end: int  # bytes from the start of the stream: just after STOP, or where it broke
    opcodes: int

    @property
    def too_long(self) -> bool:
        """Whether it was well-formed as far as it was walked, which was not to its end."""
        return self.broken.startswith(_TOO_LONG)


@dataclass(frozen=True, kw_only=True)
class Suspicion:
    """A global that ordinary weights do not need."""

    name: str
    offset: int
    how: str


class _LimitError(Exception):
    """A bound of ours ends the walk, where another reader would go on."""


class _Mark:
    """The stack's own marker."""


_MARK = _Mark()
_Value = Global | str | _Mark | None


class _Bounded:
    """A stream for `opcodes` that refuses huge reads and endless lines."""

    def __init__(self, stream: BinaryIO, end: int | None) -> None:
        self._stream = stream
        self._left = sys.maxsize if end is None else max(0, end - stream.tell())
        # Counted here: asking the stream, twice an opcode, took half of the time.
        self._read = 0

    def read(self, size: int) -> bytes:
        if size > min(_MOST_ARGUMENT, self._left):
            message = f"an argument of {_MOST_ARGUMENT:,} bytes"
            # What is cut off ends every reader; what is merely long ends only this one.
            raise _LimitError(message) if size <= self._left else ValueError(message)
        return self._counted(self._stream.read(size))

    def readline(self) -> bytes:
        line = self._counted(self._stream.readline(min(_LONGEST_LINE, self._left)))
        if not line.endswith(b"\n"):
            message = f"a line of {_LONGEST_LINE:,} bytes"
            raise _LimitError(message) if len(line) == _LONGEST_LINE else ValueError(message)
        return line

    def tell(self) -> int:
        return self._read

    def _counted(self, data: bytes) -> bytes:
        self._read += len(data)
        self._left -= len(data)
        return data


def walk(stream: BinaryIO, most: int = MOST_OPCODES, end: int | None = None) -> Walk:
    """Walk one pickle from where `stream` stands, not beyond `end` nor `most` opcodes.

    Nothing is imported, and nothing is raised for bad input: it comes back as `broken`.
    """
    start = stream.tell()
    machine = _Machine()
    bounded = _Bounded(stream, end)
    broken, count = "", 0
    with warnings.catch_warnings():
        # Escapes are undone, also where bytes only look like one.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            for opcode, argument, position in opcodes(bounded):
                if count >= most:
                    broken = f"{_TOO_LONG} {MOST_OPCODES:,} opcodes"
                    break
                machine.take(opcode, argument, position)
                count += 1
        except FrameError as error:
            machine.globals.append(Global("<hidden behind a frame>", error.place))
            machine.executes, broken = True, f"broken: {error}"
        except _LimitError as limit:
            broken = f"{_TOO_LONG} {limit}"
        except (ValueError, IndexError, KeyError, OverflowError, EOFError, UnicodeError) as error:
            broken = f"broken after {bounded.tell()} bytes: {error}"
        except MemoryError:
            broken = f"{_TOO_LONG} there is memory"
    return Walk(
        globals=tuple(machine.globals),
        executes=machine.executes,
        broken=broken,
        end=start + bounded.tell(),
        opcodes=count,
    )


def suspicions(walked: Walk) -> Iterator[Suspicion]:
    """Name each global that is not allowed, unless it only makes a module of a network."""
    modular = any(is_module_name(g.name) and "created" in g.uses for g in walked.globals)
    for found in walked.globals:
        if "overwritten" in found.uses:
            yield Suspicion(name=found.name, offset=found.offset, how="overwrites an import")
        elif not (is_allowed(found.name) or _is_module_part(found, modular=modular)):
            yield Suspicion(name=found.name, offset=found.offset, how="imports")


def _is_module_part(found: Global, *, modular: bool) -> bool:
    """Tell whether this only makes objects, inside of a whole network that was pickled."""
    # What leads from a class to its kind, or from a module to what it imports, is no layer.
    parts = found.name.split(".")[1:]
    if any(part.startswith("__") for part in parts) or found.name in METACLASSES:
        return False
    if is_module_name(found.name) or found.name in JOBLIB:
        return "called" not in found.uses and not found.dotted
    # Somebody's own layer is never called like a part of Python.
    return (
        modular
        and found.uses == {"created"}
        and found.name.isprintable()
        and found.name.partition(".")[0] not in sys.stdlib_module_names
    )


def foreign_classes(walked: Walk) -> list[str]:
    """Name the classes of a whole-module pickle, which only their own code could rebuild."""
    return [
        g.name for g in walked.globals if not is_allowed(g.name) and g.uses <= {"created", "passed"}
    ]


class _Machine:
    """Follows stack and memo as far as names need it; everything else is None."""

    def __init__(self) -> None:
        self.stack: list[_Value] = []
        self.memo: dict[int, _Value] = {}
        self.globals: list[Global] = []
        self.executes = False

    def take(self, opcode: pickletools.OpcodeInfo, argument: object, position: int) -> None:
        name = opcode.name
        if name in _STRINGS:
            # A long text is no name, and many of them would fill the memory.
            self._push(argument if isinstance(argument, str) and len(argument) <= 1000 else None)
        elif name in ("GLOBAL", "INST"):
            if name == "INST":
                self._pop_to_mark()
            room, _, leaf = str(argument).partition("\n")
            self._import(room, leaf, position, called=name == "INST")
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
        else:
            self._generic(opcode)

    def _apply(self, name: str) -> None:
        """Note what is done to a global: created from, called, or written into."""
        if name in ("SETITEMS", "APPENDS", "ADDITEMS", "OBJ"):
            items = self._pop_to_mark()
            if name == "OBJ":
                self._used(items[:1], "called")
                self._used(items[1:], "passed")
                self._push(None)
                return
            self._used(items, "passed")
        else:
            for _ in range({"NEWOBJ_EX": 2, "SETITEM": 2}.get(name, 1)):
                self._used([self.stack.pop()], "passed")
        if name in ("NEWOBJ", "NEWOBJ_EX", "REDUCE"):
            self._used([self.stack.pop()], "called" if name == "REDUCE" else "created")
            self._push(None)
        else:
            self._used(self.stack[-1:], "overwritten")

    def _generic(self, opcode: pickletools.OpcodeInfo) -> None:
        if pickletools.stackslice in opcode.stack_before:
            self._used(self._pop_to_mark(), "passed")
        else:
            for _ in opcode.stack_before:
                self._used([self.stack.pop()], "passed")
        for _ in opcode.stack_after:
            self._push(None)

    def _import(self, module: str, attribute: str, position: int, *, called: bool = False) -> None:
        if len(self.globals) >= _MOST_GLOBALS:
            message = f"{_MOST_GLOBALS:,} imports"
            raise _LimitError(message)
        name = f"{module}.{attribute}" if module else attribute
        found = Global(name, position, {"called"} if called else set(), "." in attribute)
        self.globals.append(found)
        self._push(found)

    def _used(self, values: list[_Value], how: str) -> None:
        for value in values:
            if isinstance(value, Global):
                value.uses.add(how)

    def _push(self, value: _Value) -> None:
        if len(self.stack) >= _MOST_STACK:
            message = f"a stack of {_MOST_STACK:,}"
            raise _LimitError(message)
        self.stack.append(value)

    def _pop_to_mark(self) -> list[_Value]:
        items: list[_Value] = []
        while (value := self.stack.pop()) is not _MARK:
            items.append(value)
        return items[::-1]


def looks_like_names(walked: Walk) -> bool:
    """Tell whether a name could be one, and not bytes that chance wrote."""
    return any(_NAME.match(found.name) for found in walked.globals)
