"""What torch.save wrote is read back without torch; what it would never write is refused."""

from __future__ import annotations

import io
import mmap
import pickle
import tempfile
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forged import checkpoint, inspect, zipped
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load

from gatekeeper.candidate import standins, state, torchfile

repeatable = settings(derandomize=True, deadline=None, max_examples=80)
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = (
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
)
FOUR = np.arange(4, dtype="<f4").tobytes()


def read(content: bytes) -> Any:
    """Read a checkpoint from a real file, as the child does."""
    with tempfile.TemporaryFile() as stream:
        stream.write(content)
        stream.flush()
        mapped = mmap.mmap(stream.fileno(), len(content), access=mmap.ACCESS_READ)
        reader = torchfile.read_zip if content[:2] == b"PK" else torchfile.read_legacy
        stream.seek(0)
        return reader(stream, mapped)


def weights(content: bytes) -> dict[str, torch.Tensor]:
    """Read a checkpoint through safetensors into tensors of torch."""
    loaded, big = read(content)
    tensors, _, _ = state.find_state(loaded, None)
    out = io.BytesIO()
    state.write_safetensors(tensors, out, swap=big, most=1 << 20)
    return load(out.getvalue())


def saved(value: object, *, legacy: bool = False) -> bytes:
    out = io.BytesIO()
    torch.save(value, out, _use_new_zipfile_serialization=not legacy)
    return out.getvalue()


def number(value: int) -> bytes:
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def described(offset: int, size: list[int], stride: list[int], tail: bytes = b"") -> bytes:
    """Describe one tensor over four floats; `tail` is what happens to it then."""
    sizes = b"(" + b"".join(map(number, size)) + b"t"
    strides = b"(" + b"".join(map(number, stride)) + b"t"
    hooks = b"\x89ccollections\nOrderedDict\n)R"
    tensor = TENSOR + b"(" + STORAGE + number(offset) + sizes + strides + hooks + b"tR"
    return checkpoint(b"\x80\x02}U\x01w" + tensor + tail + b"s.", **{"data/0": FOUR})


@st.composite
def views(draw: st.DrawFn) -> torch.Tensor:
    """Draw any view of a hundred numbers, also overlapping, empty and without dimensions."""
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    stride = draw(st.lists(st.integers(0, 6), min_size=len(shape), max_size=len(shape)))
    dtype = draw(st.sampled_from([torch.float32, torch.int64, torch.uint8, torch.bfloat16]))
    offset = draw(st.integers(0, 20))
    return torch.arange(100).to(dtype).as_strided(shape, stride, offset)


@repeatable
@given(view=views(), legacy=st.booleans())
def test_every_view_comes_back(view: torch.Tensor, legacy: bool) -> None:
    loaded = weights(saved({"w": view, "twin": view}, legacy=legacy))
    for name in ("w", "twin"):
        assert loaded[name].dtype == view.dtype
        assert torch.equal(loaded[name], view)


@repeatable
@given(
    offset=st.integers(-2, 6),
    size=st.lists(st.integers(-1, 5) | st.just(1 << 61), max_size=3),
    stride=st.lists(st.integers(-1, 5) | st.just(1 << 59), max_size=3),
)
def test_no_description_reaches_beyond_its_storage(
    offset: int, size: list[int], stride: list[int]
) -> None:
    honest = len(size) == len(stride) and min([offset, *size, *stride]) >= 0
    honest = honest and all(n < 1 << 60 for n in size)
    if honest and 0 not in size:
        honest = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) < 4
    if not honest:
        with pytest.raises(torchfile.MalformedError):
            weights(described(offset, size, stride))
        return
    expected = np.arange(4, dtype="<f4")[offset:] if 0 not in size else np.zeros(0, "<f4")
    found = weights(described(offset, size, stride))["w"]
    assert list(found.shape) == size
    assert set(found.flatten().tolist()) <= set(expected.tolist())


@pytest.mark.parametrize(
    "tail",
    [
        b"}U\x04size(K\x63tsb",  # BUILD would write past the check of the size
        b"N}U\x06offsetK\x63s\x86b",
        b"K\x00K\x01s",  # SETITEM on a tensor
    ],
)
def test_a_tensor_that_is_written_into_is_malformed(tail: bytes) -> None:
    with pytest.raises(torchfile.MalformedError, match=r"rewrites a tensor|misuses an object"):
        weights(described(0, [4], [1], tail))


def test_a_storage_that_is_written_into_is_malformed() -> None:
    pickled = b"\x80\x02" + STORAGE + b"}U\x05countK\x01sb."
    with pytest.raises(torchfile.MalformedError, match="rewrites a storage"):
        read(checkpoint(pickled, **{"data/0": FOUR[:4]}))


def test_nothing_outside_of_a_storage_is_read_even_without_the_check() -> None:
    storage = torchfile.Storage("float32", "0", 4, memoryview(FOUR))
    beyond = standins.TensorView(storage, "float32", 2, (4,), (1,))
    with pytest.raises((TypeError, ValueError)):
        state.write_safetensors({"w": beyond}, io.BytesIO(), swap=False, most=1 << 20)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({}, "missing from the archive"),
        ({"data/0": FOUR[:-1]}, "has 15 bytes, 16 are declared"),
        ({"data/0": FOUR + FOUR}, "has 32 bytes, 16 are declared"),
    ],
)
def test_a_storage_of_another_size_is_refused(members: dict[str, bytes], reason: str) -> None:
    pickled = zipfile.ZipFile(io.BytesIO(described(0, [4], [1]))).read("archive/data.pkl")
    with pytest.raises((torchfile.MalformedError, torchfile.UnsupportedError), match=reason):
        read(checkpoint(pickled, **members))


def test_one_storage_declared_twice_differently_is_malformed() -> None:
    pickled = b"\x80\x02(" + STORAGE + STORAGE.replace(b"K\x04", b"K\x05") + b"t."
    with pytest.raises(torchfile.MalformedError, match="declared twice"):
        read(checkpoint(pickled, **{"data/0": FOUR}))


def test_a_nested_size_is_told_in_a_few_words() -> None:
    bomb = b"\x80\x02" + TENSOR + b"(" + STORAGE + b"K\x00" + b"(t" + b"2\x86" * 60 + b"(ttR."
    with pytest.raises(torchfile.MalformedError) as refused:
        read(checkpoint(bomb, **{"data/0": FOUR}))
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("name", ["uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2"])
def test_rare_types_come_back(name: str) -> None:
    tensor = torch.ones(3).to(getattr(torch, name))
    assert torch.equal(weights(saved({"w": tensor}))["w"].float(), torch.ones(3))


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("complex64", "ComplexFloatStorage"), ("float8_e8m0fnu", "float8_e8m0fnu"),
        ("quantised", "quantised tensors"), ("sparse", "sparse tensors"),
        ("meta", "without weights"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_called_by_its_name(kind: str, reason: str, tmp_path: Path) -> None:
    made = {
        "quantised": lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        "sparse": lambda: torch.eye(2).to_sparse(),
        "meta": lambda: torch.ones(2, device="meta"),
    }
    tensor = made[kind]() if kind in made else torch.ones(2).to(getattr(torch, kind))
    content = saved({"w": tensor})
    with pytest.raises(torchfile.UnsupportedError, match=reason):
        read(content)
    (tmp_path / "model.pt").write_bytes(content)
    assert inspect(tmp_path / "model.pt").findings == ()


def test_a_deflated_checkpoint_is_read() -> None:
    noise = torch.rand(50_000, generator=torch.Generator().manual_seed(0))
    with zipfile.ZipFile(io.BytesIO(saved({"w": noise}))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    packed = zipped(members, compression=zipfile.ZIP_DEFLATED, prefix="")
    assert torch.equal(weights(packed)["w"], noise)


def test_the_other_byte_order_is_turned() -> None:
    numbers = torch.tensor([1.0, -2.5])
    with zipfile.ZipFile(io.BytesIO(saved({"w": numbers}))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["archive/byteorder"] = b"big"
    members["archive/data/0"] = numbers.numpy().astype(">f4").tobytes()
    assert torch.equal(weights(zipped(members, prefix=""))["w"], numbers)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_a_legacy_file_that_is_cut_off_is_refused(share: float) -> None:
    content = saved({"w": torch.ones(500)}, legacy=True)
    with pytest.raises((standins.UnsupportedError, EOFError, pickle.UnpicklingError)):
        weights(content[: int(len(content) * share)])


def test_a_whole_training_state_is_read_for_its_weights() -> None:
    parameter = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = torch.optim.Adam([parameter])
    parameter.sum().backward()
    optimizer.step()
    content = {"epoch": 3, "optimizer": optimizer.state_dict(), "rng": torch.get_rng_state(),
               "args": {"lr": 0.1, "names": ("a", "b")},
               "net": OrderedDict(w=parameter)}  # fmt: skip
    for legacy in (True, False):
        loaded = weights(saved(content, legacy=legacy))
        assert torch.equal(loaded["w"], parameter.detach())
