"""A restricted unpickler for what torch wrote: stand-ins for every name it knows, and no others.

What they are cannot be written into, or is of one pickle alone: a child reads file after file.

Each tensor's size, stride and offset are checked against its storage. Only in the quarantine child.
"""

from __future__ import annotations

import io
import pickle
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping
from reprlib import repr  # bounded: a few kilobytes of pickle can nest to endless text
from typing import Any, BinaryIO

from gatekeeper.candidate.allowed import ALLOWED, is_allowed, is_known_module
from gatekeeper.candidate.makers import FROM_TYPE
from gatekeeper.candidate.partials import PARTIAL
from gatekeeper.candidate.standins import (
    DTYPES,
    STORAGES,
    Bound,
    Inert,
    Maker,
    MalformedError,
    Name,
    Part,
    Sealed,
    Storage,
    TensorView,
    UnsupportedError,
    part_class,
)

_MOST_DIMENSIONS = 64


_CONTAINERS: dict[str, Any] = {
    name: Sealed(kind.__name__, (kind,), {})
    for name, kind in {
        "collections.OrderedDict": OrderedDict, "collections.defaultdict": defaultdict,
        "collections.Counter": Counter, "collections.deque": deque, "builtins.set": set,
        "builtins.frozenset": frozenset, "builtins.dict": dict, "builtins.list": list,
        "builtins.tuple": tuple, "torch.Size": tuple,
    }.items()
}  # fmt: skip


_UNREAD = {
    "torch._utils._rebuild_qtensor": "quantised tensors",
    "torch._utils._rebuild_sparse_tensor": "sparse tensors",
    "torch._utils._rebuild_meta_tensor_no_storage": "tensors without weights (device meta)",
}
_WRAPPERS = frozenset(
    {
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch.nn.parameter.Parameter",
        "torch.nn.parameter.Buffer",
    }
)
# What a tensor is made of: an attribute of such a name would change it.
OF_TENSORS = frozenset(
    {"H", "T", "data", "device", "dtype", "grad", "grad_dtype", "grad_fn", "imag", "itemsize",
     "layout", "mH", "mT", "name", "names", "nbytes", "ndim", "output_nr", "real",
     "requires_grad", "retains_grad", "shape", "volatile", "_backward_hooks", "_base", "_cdata",
     "_grad", "_grad_fn", "_has_grad_dtype_override", "_has_symbolic_sizes_strides",
     "_post_accumulate_grad_hooks", "_python_dispatch", "_version"}
    | {f"is_{what}" for what in (
        "cpu", "cuda", "ipu", "leaf", "maia", "meta", "mkldnn", "mps", "mtia", "nested",
        "quantized", "sparse", "sparse_csr", "vulkan", "xla", "xpu")}
)  # fmt: skip


class _Unpickler(pickle.Unpickler):
    """Knows the allowed names only, and gives stand-ins for them."""

    def __init__(self, stream: BinaryIO | io.BytesIO, storages: dict[str, Storage]) -> None:
        super().__init__(stream, encoding="latin-1")
        self.storages = storages
        self.classes: dict[str, type[Part]] = {}

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}".replace("__builtin__.", "builtins.")
        if is_known_module(full) and not is_allowed(full):
            if full not in self.classes:
                self.classes[full] = part_class(full)
            return self.classes[full]
        if full == PARTIAL:
            return Bound
        if not is_allowed(full):
            message = f"{full} is not allowed"
            raise MalformedError(message)
        if full in _UNREAD:
            message = f"{_UNREAD[full]} are not supported"
            raise UnsupportedError(message)
        if full in _CONTAINERS:
            return _CONTAINERS[full]
        if full in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor"):
            return Maker(_tensor)
        if full == "torch._utils._rebuild_tensor_v3":
            return Maker(_tensor_v3)
        if full in _WRAPPERS:
            return Maker(_first)
        if full == FROM_TYPE:
            return Maker(_of_type)
        if module in ("torch", "torch.cuda", "torch.storage"):
            return Name(name)
        return Inert

    def persistent_load(self, pid: Any) -> Storage | type[Part]:
        # The legacy format keeps a layer's class so, with its source, which nobody reads.
        if isinstance(pid, tuple) and len(pid) > 1 and pid[0] == "module" and _is_part(pid[1]):
            return pid[1]  # type: ignore[no-any-return]
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
            message = "a persistent id that is no storage"
            raise MalformedError(message)
        _, kind, key, _, count = pid[:5]
        dtype = STORAGES.get(kind) if isinstance(kind, Name) else None
        if dtype is None:
            message = f"storage type {repr(kind)} is not supported"
            raise UnsupportedError(message)
        if type(count) is not int or count < 0 or not isinstance(key, str):
            message = f"storage {repr(key)} declares {repr(count)} elements"
            raise MalformedError(message)
        known = self.storages.setdefault(key, Storage(dtype, key, count))
        if (known.dtype, known.count) != (dtype, count):
            message = f"storage {key!r} is declared twice, differently"
            raise MalformedError(message)
        if len(pid) > 5 and pid[5] is not None:
            message = "views of storages (torch before 0.4) are not supported"
            raise UnsupportedError(message)
        return known


def unpickled(stream: BinaryIO | io.BytesIO, storages: dict[str, Storage]) -> Any:
    """Unpickle what a file holds, and note in `storages` those that it names, by key.

    Raises:
        MalformedError: no honest pickle of weights does this.
        UnsupportedError: nothing hostile, but nothing that the gate reads.
    """
    try:
        return _Unpickler(stream, storages).load()
    except TypeError as error:
        # Such as SETITEM on a tensor, which corrupted torch's memory once.
        message = f"the pickle misuses an object: {error}"
        raise MalformedError(message) from None


def _tensor(
    storage: Any, offset: Any, size: Any, stride: Any, _grad: Any = None, _hooks: Any = None,
    metadata: Any = None, *_: object,
) -> TensorView:  # fmt: skip
    if metadata:
        message = "a tensor that is to be negated or conjugated when it is read"
        raise UnsupportedError(message)
    return _checked(
        storage, storage.dtype if isinstance(storage, Storage) else "", offset, size, stride
    )


def _tensor_v3(
    storage: Any, offset: Any, size: Any, stride: Any, _grad: Any, _hooks: Any, dtype: Any, *_: Any
) -> TensorView:
    kind = dtype if isinstance(dtype, Name) else ""
    return _checked(storage, kind, offset, size, stride)


def _is_part(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Part)


def _first(data: Any = None, _grad: Any = None, _hooks: Any = None, state: Any = None) -> Any:
    """Give the tensor that a parameter is around, which nothing else may stand for."""
    if data is not None and not isinstance(data, TensorView):
        message = f"a parameter around {type(data).__name__}"
        raise MalformedError(message)
    for part in state if isinstance(state, tuple) else (state,):
        if part is not None and not isinstance(part, Mapping):
            message = f"a tensor whose state is a {type(part).__name__}"
            raise MalformedError(message)
        for name in part or ():
            if not isinstance(name, str) or name.startswith("__") or name in OF_TENSORS:
                message = f"a tensor whose state replaces its {repr(name)}"
                raise MalformedError(message)
    return Inert() if data is None else data


def _of_type(rebuild: Any, _kind: Any, words: Any, state: Any = None) -> Any:
    """Give a tensor of its own class or with attributes, which the state holds."""
    if not isinstance(rebuild, Maker) or rebuild.make is _of_type or not isinstance(words, tuple):
        message = "a tensor that nothing of torch's own rebuilds"
        raise MalformedError(message)
    return _first(rebuild(*words), state=state)


def _checked(storage: Any, dtype: str, offset: Any, size: Any, stride: Any) -> TensorView:
    """Check that the view stays inside of its storage."""
    if isinstance(storage, Storage) and f"torch.{dtype}" in ALLOWED and dtype not in DTYPES:
        message = f"tensors of type {dtype} are not supported"
        raise UnsupportedError(message)
    if not isinstance(storage, Storage) or dtype not in DTYPES:
        message = f"a tensor of {dtype or 'no'} type over {type(storage).__name__}"
        raise MalformedError(message)
    numbers = [offset, *size, *stride] if _are_tuples(size, stride) else [None]
    if not all(type(number) is int and 0 <= number < 1 << 60 for number in numbers):
        message = f"a tensor with offset {repr(offset)}, size {repr(size)}, stride {repr(stride)}"
        raise MalformedError(message)
    reach = 0 if 0 in size else sum((n - 1) * s for n, s in zip(size, stride, strict=True)) + 1
    held = storage.count * DTYPES[storage.dtype][1] // DTYPES[dtype][1]
    if offset + reach > held and reach:
        message = (
            f"a tensor of size {tuple(size)}, stride {tuple(stride)}, offset {offset} reaches "
            f"beyond its storage of {held} elements"
        )
        raise MalformedError(message)
    return TensorView(storage, dtype, offset, tuple(size), tuple(stride))


def _are_tuples(size: Any, stride: Any) -> bool:
    both = isinstance(size, tuple) and isinstance(stride, tuple)
    return both and len(size) == len(stride) <= _MOST_DIMENSIONS
