"""Names that are allowed, told to make gigabytes, or to make a tensor by something else."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from forged import checkpoint, inspect, stack_global, text

MUCH = b"\x8a\x06" + (1 << 40).to_bytes(6, "little")  # LONG1
REBUILD = stack_global("torch._tensor", "_rebuild_from_type_v2")
TENSOR = stack_global("torch", "Tensor")
BY_TORCH = stack_global("torch._utils", "_rebuild_tensor_v2")


def made(module: str, name: str) -> bytes:
    return stack_global(module, name) + MUCH + b"\x85R"


@pytest.mark.parametrize("around", [checkpoint, lambda pickled: pickled])
@pytest.mark.parametrize(
    "pickled",
    [
        made("builtins", "bytearray"),
        made("builtins", "bytes"),
        made("torch", "Tensor"),
        made("torch", "UntypedStorage"),
        *(
            stack_global(*many) + made("builtins", "range") + b"\x85R"
            for many in (("builtins", "list"), ("collections", "Counter"), ("collections", "deque"))
        ),
        b"N" + b"r" + struct.pack("<I", (1 << 32) - 1),  # kept as number 4,294,967,295
        b"Np" + b"9" * 9 + b"\n",
    ],
)
def test_what_would_fill_the_memory_is_not_clean(
    pickled: bytes, around: type[bytes], tmp_path: Path
) -> None:
    (tmp_path / "m.pt").write_bytes(around(b"\x80\x02" + pickled + b"."))
    seen = inspect(tmp_path / "m.pt")
    assert "more than the gate follows" in seen.unreadable
    assert not seen.findings


@pytest.mark.parametrize(
    "words",
    [
        stack_global("builtins", "bytearray") + TENSOR + MUCH + b"\x85}",
        BY_TORCH + stack_global("builtins", "bytearray") + b")}",
        text("torch") + TENSOR + b")}",
        TENSOR + b")}",
    ],
)
def test_a_tensor_is_rebuilt_by_torch_alone(words: bytes, tmp_path: Path) -> None:
    pickled = b"\x80\x02" + REBUILD + b"(" + words + b"tR."
    (tmp_path / "m.pt").write_bytes(checkpoint(pickled))
    told = [finding.message for finding in inspect(tmp_path / "m.pt").findings]
    assert told == ["the pickle gives odd arguments to torch._tensor._rebuild_from_type_v2"]


@pytest.mark.parametrize(
    "name",
    [
        ("torch.utils.collect_env", "SystemEnv"), ("torch.distributed.rpc", "PyRRef"),
        ("setuptools._distutils.spawn", "Run"), ("numpy.f2py.diagnose", "Run"),
        ("pip._vendor", "Run"),
    ],
)  # fmt: skip
def test_a_layer_before_it_makes_no_layer_of_it(name: tuple[str, str], tmp_path: Path) -> None:
    layer = stack_global("torch.nn.modules.linear", "Identity") + b")\x81"
    pickled = b"\x80\x02" + layer + stack_global(*name) + text("true") + b"\x85\x81\x86."
    (tmp_path / "m.pt").write_bytes(checkpoint(pickled))
    (finding,) = inspect(tmp_path / "m.pt").findings
    assert finding.message == f"the pickle imports {'.'.join(name)}"
    assert finding.offset is not None
