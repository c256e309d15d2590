"""A safetensors header is checked as if an enemy had written it."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from forged import PAYLOAD, blocked, inspected
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize
from safetensors.torch import save

from gatekeeper.candidate.safetensors_file import SafetensorsError, UnreadTypeError, check

repeatable = settings(derandomize=True, deadline=None, max_examples=200)
JUNK = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3)
JUNK = JUNK | st.lists(st.integers(-9, 1 << 70) | st.lists(st.integers()), max_size=3)


def framed(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(shape: object, offsets: object, dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


MALFORMED = {
    "header too long": ((1 << 60).to_bytes(8, "little") + b'{"a": 1}', "the header says it has"),
    "only a long length": ((8 << 30).to_bytes(8, "little") + b"{}", "beyond the end"),
    "header cut off": (framed({"a": entry([1], [0, 4])})[:20], "the header says it has"),
    "header of 25 MB": (framed(b'{"a":' + b" " * 25_000_000 + b"}"), "more than 25,000,000"),
    "overlapping": (framed({"a": entry([1], [0, 4]), "b": entry([1], [2, 6])}, bytes(6)),
                    "overlaps another"),
    "gap": (framed({"a": entry([1], [4, 8])}, bytes(8)), "leaves a gap"),
    "out of range": (framed({"a": entry([2], [0, 8])}, bytes(4)), "the file holds 4"),
    "negative": (framed({"a": entry([1], [-4, 0])}), r"offsets \[-4, 0\]"),
    "backwards": (framed({"a": entry([1], [4, 0])}, bytes(4)), "does not fit"),
    "shape overflow": (framed({"a": entry([1 << 40, 1 << 40], [0, 4])}, bytes(4)), "does not fit"),
    "negative shape": (framed({"a": entry([-1, -1], [0, 4])}, bytes(4)), r"shape \[-1, -1\]"),
    "dimensions": (framed({"a": entry([1] * 65, [0, 4])}, bytes(4)), "shape"),
    "unknown type": (framed({"a": entry([1], [0, 4], "F31")}, bytes(4)), "dtype 'F31'"),
    "type no text": (framed({"a": entry([1], [0, 4], [])}, bytes(4)), r"dtype \[\]"),
    "truth for a number": (framed({"a": entry([True], [0, 4])}, bytes(4)), "shape"),
    "duplicate keys": (framed(b'{"a": {}, "a": {}}'), "a key stands twice"),
    "trailing bytes": (framed({"a": entry([1], [0, 4])}, bytes(9)), "5 bytes follow"),
    "objects": (framed(b'{"a":[' + b"{}," * 200_000 + b"0]}"), "too many objects"),
    "not JSON": (framed(b"{not json}"), "not JSON"),
    "not UTF-8": (framed(b'{"\xff": 1}'), "not JSON"),
    "a long number": (framed(b'{"a": ' + b"1" * 5000 + b"}"), "not JSON"),
    "deep": (framed(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "nested too deep"),
    "metadata": (framed({"__metadata__": {"a": 1}}), "texts to texts"),
    "no entry": (framed({"a": 3}), "dtype None"),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_each_malformation_has_its_own_message(name: str, tmp_path: Path) -> None:
    content, reason = MALFORMED[name]
    with pytest.raises(SafetensorsError, match=reason):
        check(io.BytesIO(content))
    inspection = inspected(content, tmp_path, "model.safetensors")
    assert "the safetensors file is malformed" in inspection.unreadable
    assert not blocked(inspection)


def test_numbers_that_the_gate_does_not_read_are_told_by_their_type(tmp_path: Path) -> None:
    written = {
        "C64": torch.complex64, "F8_E8M0": torch.float8_e8m0fnu,
        "F8_E4M3FNUZ": torch.float8_e4m3fnuz, "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    }  # fmt: skip
    files = {name: save({"w": torch.ones(4).to(kind)}) for name, kind in written.items()}
    files["F4"] = save({"w": torch.zeros(2, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)})
    for name, content in files.items():
        reason = f"tensor 'w' holds numbers of type {name}, which the gate does not read"
        with pytest.raises(UnreadTypeError, match=reason):
            check(io.BytesIO(content))
        inspection = inspected(content, tmp_path, "model.safetensors")
        assert reason in inspection.unreadable
        assert not blocked(inspection)


@pytest.mark.parametrize("content", [framed([]), framed(b"3"), b"", b"\0" * 7, framed(b"")])
def test_what_is_no_header_at_all_is_refused(content: bytes) -> None:
    with pytest.raises(SafetensorsError):
        check(io.BytesIO(content))


def test_a_shape_without_end_is_refused() -> None:
    content = framed({"a": entry([1 << 61] * 500_000, [0, 4])}, bytes(4))
    with pytest.raises(SafetensorsError, match="has dtype"):
        check(io.BytesIO(content))


def test_brackets_in_names_and_metadata_are_no_nesting(tmp_path: Path) -> None:
    header = {"__metadata__": {"note": "[[[[[[[[[[{{{{{{{{{{"}, "[[[[[[[[[[": entry([1], [0, 4])}
    assert check(io.BytesIO(framed(header, bytes(4)))) == {"[[[[[[[[[[": ("F32", (1,))}
    assert inspected(framed(header, bytes(4)), tmp_path).unreadable == ""


def test_a_pickle_that_poses_as_safetensors_is_blocked(tmp_path: Path) -> None:
    posing = b"S'length{'\n0" + PAYLOAD
    assert posing[8:9] == b"{"
    assert blocked(inspected(posing, tmp_path, "model.safetensors")) == {"code-execution"}


@repeatable
@given(header=st.dictionaries(st.text(max_size=4), st.builds(entry, JUNK, JUNK, JUNK) | JUNK))
def test_any_header_is_accepted_or_refused_by_name(header: dict[str, Any]) -> None:
    try:
        told = str(check(io.BytesIO(framed(header, bytes(8)))))
    except SafetensorsError as refusal:
        told = str(refusal)
    assert 0 < len(told) < 2000


@repeatable
@given(
    shapes=st.lists(st.lists(st.integers(0, 4), max_size=3), max_size=4),
    slip=st.sampled_from([0, 0, 0, -1, 1]),
    rest=st.sampled_from([0, 0, 0, 1]),
)
def test_the_check_is_as_strict_as_the_library(
    shapes: list[list[int]], slip: int, rest: int
) -> None:
    header, place = {}, 0
    for number, shape in enumerate(shapes):
        end = place + 4 * math.prod(shape)
        header[f"w{number}"] = entry(shape, [place + slip, end])
        place = end
    content = framed(header, bytes(place + rest))
    try:
        passed = check(io.BytesIO(content))
    except SafetensorsError:
        return
    try:
        assert len(deserialize(content)) == len(passed)
    except SafetensorError as error:
        pytest.fail(f"passed, but the library says: {error}")
    assert slip == 0 or not shapes
    assert rest == 0
