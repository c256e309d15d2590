"""What stands in the place of everything that a pickle names: it holds data and runs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

# torch's name -> (safetensors' name, bytes of an element)
DTYPES = {
    "float64": ("F64", 8), "float32": ("F32", 4), "float16": ("F16", 2), "bfloat16": ("BF16", 2),
    "float8_e4m3fn": ("F8_E4M3", 1), "float8_e5m2": ("F8_E5M2", 1),
    "int64": ("I64", 8), "int32": ("I32", 4), "int16": ("I16", 2), "int8": ("I8", 1),
    "uint64": ("U64", 8), "uint32": ("U32", 4), "uint16": ("U16", 2), "uint8": ("U8", 1),
    "bool": ("BOOL", 1),
}  # fmt: skip


STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32",
    "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool",
    "UntypedStorage": "uint8",
}  # fmt: skip


class MalformedError(Exception):
    """A tensor or structure that no honest file has: block."""


class UnsupportedError(Exception):
    """Nothing hostile, but nothing that we can read: undecided."""


class _Fixed:
    """What was checked once stays as it is: BUILD would write past every check."""

    def __setstate__(self, _: object) -> None:
        message = f"the pickle rewrites a {type(self).__name__.removesuffix('View').lower()}"
        raise MalformedError(message)


@dataclass(eq=False)
class Storage(_Fixed):
    """Bytes that tensors are views of."""

    dtype: str
    key: str
    count: int  # elements
    data: memoryview = field(default_factory=lambda: memoryview(b""))


@dataclass(frozen=True, eq=False)
class TensorView(_Fixed):
    """A tensor as the file describes it, checked against its storage."""

    storage: Storage
    dtype: str
    offset: int  # elements
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def elements(self) -> int:
        """How many."""
        total = 1
        for length in self.size:
            total *= length
        return total


class Sealed(type):
    """A class that stays what it is, whatever a pickle writes into it."""

    def __setattr__(cls, name: str, value: object) -> None:
        """Refuse."""
        message = f"the pickle rewrites a {cls.__name__}"
        raise MalformedError(message)


class Maker(_Fixed):
    """Takes the place of a function that makes tensors; it is called, and stays what it is."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[..., object]) -> None:
        """Take the function of ours."""
        self.make = make

    def __call__(self, *words: object) -> object:
        """Make what it makes."""
        return self.make(*words)


class Inert(metaclass=Sealed):
    """Takes the place of everything that is allowed and not needed."""

    def __init__(self, *_: object, **__: object) -> None:
        """Accept anything."""

    def __setstate__(self, _: object) -> None:
        """Accept any state."""

    def __iter__(self) -> Iterator[object]:
        """Hold nothing, for whoever makes a list of it."""
        return iter(())


class Name(str):
    """A dtype or storage type, as its name."""

    __slots__ = ()

    def __call__(self, *_: object) -> Inert:
        """Make nothing of use."""
        return Inert()


class Part:
    """Takes the place of one layer or network; its state is kept and never asked to do anything."""

    kind: ClassVar[str] = ""
    __slots__ = ("state",)

    def __new__(cls, *words: object, **__: object) -> Part:
        """Make it as torch's own pickles do: with nothing but a state to come."""
        if words:
            message = f"the pickle makes a {cls.kind} from arguments"
            raise MalformedError(message)
        return super().__new__(cls)

    def __init__(self) -> None:
        """Refuse to be called: a pickle makes layers without."""
        message = f"the pickle calls {self.kind}"
        raise MalformedError(message)

    def __setstate__(self, state: Any) -> None:
        """Take the state once."""
        if hasattr(self, "state"):
            message = f"the pickle rewrites a {self.kind}"
            raise MalformedError(message)
        if not isinstance(state, dict):
            message = f"the state of a {self.kind} is a {type(state).__name__}"
            raise MalformedError(message)
        self.state: dict[Any, Any] = state


def part_class(name: str) -> type[Part]:
    """Give the stand-in for the class `name` of torch or torchvision."""
    return type(name.rpartition(".")[2], (Part,), {"kind": name, "__slots__": ()})


class Bound(metaclass=Sealed):
    """Takes the place of a norm with some of its settings; nobody calls it."""

    def __init__(self, kind: Any) -> None:
        """Take the kind of norm, which has its stand-in."""
        if not (isinstance(kind, type) and issubclass(kind, Part)):
            message = "the pickle binds arguments to what is no layer"
            raise MalformedError(message)

    def __setstate__(self, _: object) -> None:
        """Accept the settings that the walk saw."""
