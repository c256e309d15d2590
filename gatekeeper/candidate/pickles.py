"""A bounded walk over pickle opcodes: every global a stream would import, without importing any.

Default deny: what is not on the short list of harmless constructors is a finding.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from gatekeeper.candidate.allowed import (
    JOBLIB,
    METACLASSES,
    is_allowed,
    is_class_or_activation,
    is_module_name,
)
from gatekeeper.candidate.machine import Machine
from gatekeeper.candidate.machine_values import OBJECT, Global, Items, LimitError
from gatekeeper.candidate.opcodes import FrameError, Source, opcodes
from gatekeeper.candidate.partials import PARTIAL

MOST_OPCODES = 1_000_000
_MOST_ARGUMENT = 256 << 20  # bytes of one argument
_LONGEST_LINE = 32 << 20  # the header of a safetensors file is one
_TOO_LONG = "longer than"
_SHORT = 1 << 20  # bytes; far below the bounds above
_NO_LAYERS = sys.stdlib_module_names | {
    "torch", "torchvision", "numpy", "scipy", "pandas", "PIL", "cv2", "sklearn", "joblib", "dill",
    "cloudpickle", "pip", "setuptools", "pkg_resources", "_distutils_hack", "wheel", "yaml",
}  # fmt: skip
_MORE_LAYERS = ("torch.ao.nn.", "torch.nn.", "torchvision.models.", "torchvision.ops.")
_NAME = re.compile(r"([\w.-]+|<[\w ]+>)\Z")


class Walk(NamedTuple):  # made by the thousand, and faster so
    """What one pickle would do; `broken` says why the walk ended early, "" where it ended well."""

    globals: tuple[Global, ...]
    executes: bool
    broken: str
    end: int  # bytes from the start of the stream: just after STOP, or where it broke
    opcodes: int
    storages: Mapping[str, tuple[str, int] | None]  # that it names, by key: kind, and elements
    excess: str  # what in it would fill the memory, "" where nothing would
    words: Sequence[str] | None  # what it holds, where that is a list of texts alone

    @property
    def too_long(self) -> bool:
        """Whether it was well-formed as far as it was walked, which was not to its end."""
        return self.broken.startswith(_TOO_LONG)


@dataclass(frozen=True, kw_only=True)
class Suspicion:
    """A global that ordinary weights do not need, or a use of one."""

    name: str
    offset: int
    how: str


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
            raise LimitError(message) if size <= self._left else ValueError(message)
        return self._counted(self._stream.read(size))

    def readline(self) -> bytes:
        line = self._counted(self._stream.readline(min(_LONGEST_LINE, self._left)))
        if not line.endswith(b"\n"):
            message = f"a line of {_LONGEST_LINE:,} bytes"
            raise LimitError(message) if len(line) == _LONGEST_LINE else ValueError(message)
        return line

    def tell(self) -> int:
        return self._read

    def _counted(self, data: bytes) -> bytes:
        self._read += len(data)
        self._left -= len(data)
        return data


def _source(stream: BinaryIO, start: int, end: int | None) -> Source:
    """Give what is short as one piece: most pickles are, and reading it costs half the time."""
    if end is not None and 0 <= end - start <= _SHORT:
        return io.BytesIO(stream.read(end - start))
    return _Bounded(stream, end)


def walk(stream: BinaryIO, most: int = MOST_OPCODES, end: int | None = None) -> Walk:
    """Walk one pickle from where `stream` stands, not beyond `end` nor `most` opcodes.

    Nothing is imported, and nothing is raised for bad input: it comes back as `broken`.
    """
    start = stream.tell()
    machine = Machine()
    source = _source(stream, start, end)
    broken, count = "", 0
    try:
        for opcode, argument, position in opcodes(source):
            if count >= most:
                broken = f"{_TOO_LONG} {MOST_OPCODES:,} opcodes"
                break
            machine.take(opcode, argument, position)
            count += 1
    except FrameError as error:
        machine.globals.append(Global("<hidden behind a frame>", error.place))
        machine.executes, broken = True, f"broken: {error}"
    except LimitError as limit:
        broken = f"{_TOO_LONG} {limit}"
    except (ValueError, IndexError, KeyError, OverflowError, EOFError, UnicodeError) as error:
        broken = f"broken after {source.tell()} bytes: {error}"
    except MemoryError:
        broken = f"{_TOO_LONG} there is memory"
    return Walk(
        globals=tuple(machine.globals),
        executes=machine.executes,
        broken=broken,
        end=start + source.tell(),
        opcodes=count,
        storages=machine.storages,
        excess=machine.excess,
        words=machine.result.words if isinstance(machine.result, Items) else None,
    )


def suspicions(walked: Walk, *, objects: bool = False) -> Iterator[Suspicion]:
    """Name each global that is not allowed or is misused, but for the modules of a network.

    Args:
        walked: one pickle.
        objects: whether it is of an array of objects, so that such a type belongs there.
    """
    modular = any(is_module_name(g.name) and "created" in g.uses for g in walked.globals)
    for found in walked.globals:
        if found.name == OBJECT:
            yield Suspicion(name=found.name, offset=found.offset, how="calls or writes into")
        elif "overwritten" in found.uses:
            yield Suspicion(name=found.name, offset=found.offset, how="overwrites an import")
        elif found.name == PARTIAL and found.uses == {"called"}:
            continue  # around a norm of torch's with plain numbers
        elif not (is_allowed(found.name) or _is_module_part(found, modular=modular)):
            yield Suspicion(name=found.name, offset=found.offset, how="imports")
        elif "misused" in found.uses:
            yield Suspicion(name=found.name, offset=found.offset, how="gives odd arguments to")
        elif "objects" in found.uses and not objects:
            yield Suspicion(name=found.name, offset=found.offset, how="asks for objects of")


def _is_module_part(found: Global, *, modular: bool) -> bool:
    """Tell whether this only makes objects, inside of a whole network that was pickled."""
    # What leads from a class to its kind, or from a module to what it imports, is no layer.
    parts = found.name.split(".")[1:]
    if any(part.startswith("__") for part in parts) or found.name in METACLASSES:
        return False
    if is_module_name(found.name) or found.name in JOBLIB:
        plain = "called" not in found.uses and not found.dotted
        return plain and is_class_or_activation(found.name)
    # Somebody's own layer is never called like a part of Python or of a library without layers.
    return (
        modular
        and found.uses == {"created"}
        and found.name.isprintable()
        and (found.name.partition(".")[0] not in _NO_LAYERS or found.name.startswith(_MORE_LAYERS))
    )


def foreign_classes(walked: Walk) -> list[str]:
    """Name the classes of a whole-module pickle, which only their own code could rebuild."""
    return [
        g.name for g in walked.globals if not is_allowed(g.name) and g.uses <= {"created", "passed"}
    ]


def looks_like_names(walked: Walk) -> bool:
    """Tell whether a name could be one, and not bytes that chance wrote."""
    names = (found.name for found in walked.globals if found.name != OBJECT)
    return any(_NAME.match(name) for name in names)
