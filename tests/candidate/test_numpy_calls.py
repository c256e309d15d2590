"""What pickles give to numpy: honest arrays pass, what would corrupt memory does not."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forged import blocked, checkpoint, inspected, stack_global, text

from gatekeeper.candidate.pickles import suspicions, walk

CODES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]
DTYPE = b"\x80\x04" + stack_global("numpy", "dtype")
FLOAT = DTYPE + text("f4") + b"\x89\x88\x87R"  # dtype("f4", False, True)
PLAIN = b"(K\x03" + text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
RECONSTRUCT = stack_global("numpy._core.multiarray", "_reconstruct")
EMPTY = RECONSTRUCT + stack_global("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R"
FROMBUFFER = stack_global("numpy._core.numeric", "_frombuffer")


def misused(program: bytes) -> list[str]:
    walked = walk(io.BytesIO(program))
    assert not walked.broken
    return [s.name for s in suspicions(walked)]


def arrays() -> list[Any]:
    kinds = [np.dtype(code) for code in CODES]
    both = [*kinds, *(kind.newbyteorder(">") for kind in kinds if kind.itemsize > 1)]
    plain = [np.ones((2, 3), kind) for kind in both] + [kind.type(1) for kind in kinds]
    odd = [
        np.zeros((0, 4)), np.array(2.5), np.asfortranarray(np.ones((3, 2))), np.ones((4, 4))[::2],
        np.array(["cat", "hörse"]), np.array([b"ab", b"c"]), np.str_("cat"), np.bytes_(b"x"),
        np.zeros(3, np.longdouble), np.array(["x" * 4000]), np.dtype("f4"), np.dtype("U7"),
    ]  # fmt: skip
    return plain + odd


@pytest.mark.parametrize("protocol", range(6))
def test_what_numpy_itself_writes_is_no_alarm(protocol: int) -> None:
    found = arrays()
    for array in found:
        assert misused(pickle.dumps(array, protocol)) == []
    assert misused(pickle.dumps([*found, found[0], found[0].dtype], protocol)) == []


@pytest.mark.parametrize("zipped", [True, False])
def test_numpy_beside_weights_is_clean_as_torch_saves_it(zipped: bool, tmp_path: Path) -> None:
    beside = {"weights": {"w": torch.ones(3)}, "best": np.float64(0.9), "losses": np.ones(5)}
    torch.save(beside, tmp_path / "m.pt", _use_new_zipfile_serialization=zipped)
    seen = inspected((tmp_path / "m.pt").read_bytes(), tmp_path)
    assert (seen.findings, seen.unreadable) == ((), "")


@pytest.mark.parametrize(
    "arguments",
    [
        text("O") + b"\x85R", text("O8") + b"\x89\x88\x87R", text("V8") + b"\x85R",
        text("M8[ns]") + b"\x85R", text("f4,O") + b"\x85R", text("nobody") + b"\x85R",
        text("(2,)O") + b"\x85R", text("f4\n") + b"\x85R", text("U99999999") + b"\x85R",
        b"](" + text("a") + text("O") + b"\x86e\x85R", b"}" + text("names") + b"Ns\x85R",
        stack_global("builtins", "dict") + b"\x85R", b")R", b"NR", b"N\x85R",
        text("f4") + b"\x85\x81" + text("x") + b"b", text("f4") + b"\x85}\x92",
        text("f4") + b"0" + stack_global("_codecs", "encode") + text("O") + text("latin1")
        + b"\x86R\x85R",
    ],
)  # fmt: skip
def test_a_type_that_holds_more_than_numbers_is_blocked(arguments: bytes, tmp_path: Path) -> None:
    seen = inspected(checkpoint(DTYPE + arguments + b"."), tmp_path)
    assert blocked(seen) == {"code-execution"}
    assert "numpy.dtype" in seen.findings[0].message


@pytest.mark.parametrize(
    "program",
    [
        b"(" + stack_global("numpy", "dtype") + text("O") + b"o.",
        b"(" + text("O") + b"inumpy\ndtype\n.",
        b"(" + stack_global("numpy", "dtype") + text("f4") + b"o}b.",
        DTYPE + b"\x94" + text("f4") + b"\x85R0h\x00" + text("O") + b"\x85R.",
    ],
)
def test_every_way_to_call_is_followed(program: bytes) -> None:
    assert misused(b"\x80\x04" + program.removeprefix(b"\x80\x04")) == ["numpy.dtype"]


@pytest.mark.parametrize(
    "state",
    [
        b"(K\x03" + text("|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb",
        b"(K\x03" + text("|") + b"NNNK\x08K\x08K\x00tb",
        b"(K\x03" + text("|") + b"N" + text("a") + b"\x85}K\x08K\x01K\x00tb",
        b"(K\x04" + text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00}tb",
        b"}b", b"Nb", PLAIN[:-1] + b"0Nb",
    ],
)  # fmt: skip
def test_a_type_that_is_rewritten_is_blocked(state: bytes) -> None:
    assert misused(FLOAT + PLAIN + b".") == []
    assert misused(FLOAT + state + b".") == ["numpy.dtype"]
    assert misused(FLOAT + PLAIN + state + b".") == ["numpy.dtype"]


MADE = FLOAT + PLAIN + b"\x940"  # remembered as 0
REBUILT = MADE + EMPTY
FILL = b"(K\x01K\x01\x85h\x00\x89C\x04\0\0\0\0tb"


@pytest.mark.parametrize(
    ("program", "name"),
    [
        (REBUILT + FILL + FILL, "_reconstruct"),
        (REBUILT + FILL.replace(b"h\x00", text("O")), "_reconstruct"),
        (REBUILT + FILL.replace(b"K\x01\x85", b"J\xff\xff\xff\xffJ\xfc\xff\xff\xff\x86"),
         "_reconstruct"),
        (REBUILT + b"}b", "_reconstruct"),
        (MADE + EMPTY.replace(b"C\x01b", text("O")), "_reconstruct"),
        (MADE + EMPTY.replace(b"K\x00\x85", b"K\x09\x85"), "_reconstruct"),
        (MADE + EMPTY + b"\x940" + FROMBUFFER + b"(h\x01h\x00K\x01\x85" + text("C") + b"tR",
         "_frombuffer"),
        (MADE + FROMBUFFER + b"(C\x04\0\0\0\0" + text("O") + b"K\x01\x85" + text("C") + b"tR",
         "_frombuffer"),
        (MADE + FROMBUFFER + b"(C\x04\0\0\0\0h\x00K\x01\x85" + text("C") + b"tR" + FILL,
         "_frombuffer"),
        (MADE + stack_global("numpy.core.multiarray", "scalar") + text("O") + b"]\x86R", "scalar"),
        (MADE + stack_global("numpy", "ndarray") + b"K\x01\x85" + text("O") + b"\x86R", "ndarray"),
        (MADE + stack_global("numpy.dtypes", "Float32DType") + text("O") + b"\x85R",
         "Float32DType"),
        (MADE + stack_global("numpy.dtypes", "ObjectDType") + b")R", "ObjectDType"),
    ],
)  # fmt: skip
def test_an_array_that_numpy_would_not_write_is_blocked(program: bytes, name: str) -> None:
    assert misused(REBUILT + FILL + b".") == []
    assert [found.rpartition(".")[2] for found in misused(program + b".")] == [name]


@pytest.mark.parametrize("protocol", range(6))
def test_an_array_of_objects_is_blocked_but_where_it_belongs(protocol: int) -> None:
    pickled = pickle.dumps(np.array([{}, None], dtype=object), protocol)
    assert misused(pickled) == ["numpy.dtype"]
    assert not list(suspicions(walk(io.BytesIO(pickled)), objects=True))
    raw = REBUILT.replace(text("f4"), text("O8")) + FILL + b"."
    assert list(suspicions(walk(io.BytesIO(raw)), objects=True))  # its flags are those of floats
    scalar = DTYPE + text("O8") + b"\x89\x88\x87R\x940"
    scalar += stack_global("numpy.core.multiarray", "scalar") + b"h\x00C\x08AAAAAAAA\x86R."
    assert list(suspicions(walk(io.BytesIO(scalar)), objects=True))
