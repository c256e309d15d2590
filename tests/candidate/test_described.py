"""A look tells of tensors that do not fit their storage, also where nobody scans."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from forged import checkpoint, inspect, stack_global, text

REBUILD = stack_global("torch._utils", "_rebuild_tensor_v2")
FOUR = bytes(16)


def storage(key: str = "0", count: bytes = b"K\x04") -> bytes:
    words = text("storage") + stack_global("torch", "FloatStorage") + text(key) + text("cpu")
    return b"(" + words + count + b"tQ"


def tensor(
    held: bytes, offset: bytes = b"K\x00", size: bytes = b"K\x04", stride: bytes = b"K\x01"
) -> bytes:
    more = b"\x89" + stack_global("collections", "OrderedDict") + b")R"
    words = held + offset + size + b"\x85" + stride + b"\x85" + more
    return b"\x80\x02}" + text("w") + REBUILD + b"(" + words + b"tRs."


def number(value: int) -> bytes:
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


@pytest.mark.parametrize(
    ("pickled", "told"),
    [
        (tensor(storage(), size=number(1_000_000)), "beyond its storage of 4 elements"),
        (tensor(storage(), stride=number(900)), "beyond its storage"),
        (tensor(storage(), offset=number(-8)), "offset -8"),
        (tensor(storage(count=number(1 << 40))), "has 16 bytes"),
        (tensor(b"K\x01"), "over int"),
    ],
)
def test_a_tensor_that_lies_is_blocked_by_a_look(pickled: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(checkpoint(pickled, **{"data/0": FOUR}))
    (finding,) = inspect(tmp_path / "m.pt").findings
    assert (finding.rule_id, finding.member) == ("malformed-tensor", "archive/data.pkl")
    assert told in finding.message


def test_the_same_in_a_legacy_file(tmp_path: Path) -> None:
    out = io.BytesIO()
    torch.save({"w": torch.ones(4)}, out, _use_new_zipfile_serialization=False)
    honest = out.getvalue()
    assert honest.count(b"K\x04\x85") == 1
    (tmp_path / "m.pt").write_bytes(honest.replace(b"K\x04\x85", b"K\x05\x85"))
    (finding,) = inspect(tmp_path / "m.pt").findings
    assert finding.rule_id == "malformed-tensor"


def test_what_cannot_be_made_is_not_clean(tmp_path: Path) -> None:
    for name, pickled in {"key": b"}]K\x01s.", "nothing": b"(."}.items():
        (tmp_path / f"{name}.pt").write_bytes(checkpoint(b"\x80\x02" + pickled))
        seen = inspect(tmp_path / f"{name}.pt")
        assert seen.unreadable or seen.findings


def test_tensors_that_the_gate_does_not_read_are_no_finding(tmp_path: Path) -> None:
    torch.save({"w": torch.eye(3).to_sparse()}, tmp_path / "sparse.pt")
    seen = inspect(tmp_path / "sparse.pt")
    assert not seen.findings
    assert seen.unreadable == "the gate does not read it: sparse tensors are not supported"
