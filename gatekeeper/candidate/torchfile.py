"""Reads what torch.save wrote, zip or legacy, without torch: only in the quarantine child.

A restricted unpickler puts inert stand-ins in the place of every name it knows and refuses the
rest; each tensor's size, stride and offset are checked against its storage.
"""

from __future__ import annotations

import io
import mmap
import pickle
import struct
import zlib
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping
from reprlib import repr  # bounded: a few kilobytes of pickle can nest to endless text
from typing import Any, BinaryIO

from gatekeeper.candidate.allowed import ALLOWED, is_allowed, is_known_module
from gatekeeper.candidate.archive import Member, content, read_archive
from gatekeeper.candidate.partials import PARTIAL
from gatekeeper.candidate.standins import (
    DTYPES,
    STORAGES,
    Bound,
    Inert,
    MalformedError,
    Name,
    Part,
    Storage,
    TensorView,
    UnsupportedError,
    part_class,
)

_MOST_PICKLE = 64 << 20
_MOST_DIMENSIONS = 64


_CONTAINERS: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "collections.defaultdict": defaultdict,
    "collections.Counter": Counter,
    "collections.deque": deque,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "builtins.dict": dict,
    "builtins.list": list,
    "builtins.tuple": tuple,
    "torch.Size": tuple,
}


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
            return _tensor
        if full == "torch._utils._rebuild_tensor_v3":
            return _tensor_v3
        if full in _WRAPPERS:
            return _first
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


def _unpickle(stream: BinaryIO | io.BytesIO, storages: dict[str, Storage]) -> Any:
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
    parts = state if isinstance(state, tuple) else (state,)
    if any(isinstance(part, Mapping) and "data" in part for part in parts):
        message = "a parameter whose state replaces its numbers"
        raise MalformedError(message)
    return data


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


def read_zip(stream: BinaryIO, mapped: mmap.mmap) -> tuple[Any, bool]:
    """Read a zip checkpoint; gives the object and whether its numbers are big-endian."""
    archive = read_archive(stream)
    by_name = {member.name: member for member in archive.members}
    # As torch does: the first member tells the folder that all others stand in.
    folder = archive.members[0].name.partition("/")[0] if archive.members else ""
    root = next((n for n in ("data.pkl", f"{folder}/data.pkl") if n in by_name), None)
    if root is None:
        message = "the archive has no data.pkl"
        raise UnsupportedError(message)
    prefix = root[: -len("data.pkl")]
    storages: dict[str, Storage] = {}
    pickled = content(stream, by_name[root], _MOST_PICKLE)
    _check_crc(by_name[root], pickled)
    loaded = _unpickle(io.BytesIO(pickled), storages)
    for storage in storages.values():
        member = by_name.get(f"{prefix}data/{storage.key}")
        if member is None:
            message = f"storage {storage.key!r} is missing from the archive"
            raise UnsupportedError(message)
        storage.data = _bytes(stream, mapped, member, storage)
    order = by_name.get(f"{prefix}byteorder")
    return loaded, order is not None and content(stream, order, 16) == b"big"


def _bytes(stream: BinaryIO, mapped: mmap.mmap, member: Member, storage: Storage) -> memoryview:
    wanted = storage.count * DTYPES[storage.dtype][1]
    if member.size != wanted:
        message = f"storage {storage.key!r} has {member.size} bytes, {wanted} are declared"
        raise MalformedError(message)
    return member_bytes(stream, mapped, member)


def member_bytes(stream: BinaryIO, mapped: mmap.mmap, member: Member) -> memoryview:
    """Give all bytes of a member, from the map where they are not packed.

    Raises:
        MalformedError: it inflates to another size than it says.
        UnsupportedError: its checksum is wrong.
    """
    if member.deflated:
        data = memoryview(content(stream, member, member.size + 1))
    else:
        data = memoryview(mapped)[member.start : member.start + member.stored]
    if len(data) != member.size:
        message = f"member {member.name!r} inflates to another size than it says"
        raise MalformedError(message)
    _check_crc(member, data)
    return data


def _check_crc(member: Member, data: bytes | memoryview) -> None:
    if zlib.crc32(data) != member.crc:
        message = f"member {member.name!r} has a wrong checksum: the file is damaged"
        raise UnsupportedError(message)


def read_legacy(stream: BinaryIO, mapped: mmap.mmap) -> tuple[Any, bool]:
    """Read a legacy checkpoint: five pickles, then each storage's count and bytes."""
    stream.seek(0)
    storages: dict[str, Storage] = {}
    for _ in range(2):
        _unpickle(stream, {})
    system = _unpickle(stream, {})
    loaded = _unpickle(stream, storages)
    keys = _unpickle(stream, {})
    if not isinstance(keys, list) or set(map(str, keys)) != set(storages):
        message = "the list of storages does not fit the object"
        raise MalformedError(message)
    place = stream.tell()
    for key in keys:
        storage = storages[key]
        wanted = storage.count * DTYPES[storage.dtype][1]
        if place + 8 + wanted > len(mapped):
            message = "the file is cut off inside of its storages"
            raise UnsupportedError(message)
        if struct.unpack_from("<q", mapped, place)[0] != storage.count:
            message = f"storage {key!r} has another count than it declares"
            raise MalformedError(message)
        storage.data = memoryview(mapped)[place + 8 : place + 8 + wanted]
        place += 8 + wanted
    if place != len(mapped):
        message = f"{len(mapped) - place:,} bytes follow its last storage"
        raise UnsupportedError(message)
    if isinstance(system, Mapping) and not system.get("little_endian", True):
        # Torch reads such a file as if it were little-endian, which is another network.
        message = "it was saved on a big-endian machine"
        raise UnsupportedError(message)
    return loaded, False
