"""Numbers whose bytes read like pickle opcodes are numbers all the same."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from forged import HARMLESS, PAYLOAD, blocked, checkpoint, inspected

ALIKE = {
    "MARK": torch.full((500, 500), 0x28, dtype=torch.uint8),
    "NONE": torch.full((250_000,), ord("N"), dtype=torch.uint8),
    "EMPTY_TUPLE": torch.full((100_000,), 0x29292929, dtype=torch.int32),
    "PROTO 2": torch.full((1_100_000,), 0x0280, dtype=torch.int16),
    "NONE POP": torch.tensor([ord("N"), ord("0")], dtype=torch.uint8).repeat(600_000),
}


@pytest.mark.parametrize("name", ALIKE)
def test_a_tensor_that_reads_like_a_pickle_is_clean(name: str, tmp_path: Path) -> None:
    out = io.BytesIO()
    torch.save({"m": ALIKE[name]}, out)
    seen = inspected(out.getvalue(), tmp_path)
    assert (seen.findings, seen.unreadable) == ((), "")


def test_numbers_that_declare_a_long_argument_are_clean(tmp_path: Path) -> None:
    numbers = b"\x42\x00\x00\x00\x11" + bytes(300_000_000)
    seen = inspected(checkpoint(HARMLESS, **{"data/0": numbers}), tmp_path)
    assert (seen.findings, seen.unreadable) == ((), "")


def test_a_name_before_the_bound_is_judged(tmp_path: Path) -> None:
    for tail in (b"N" * 250_000, b"N0" * 30_000 + b"."):
        hidden = checkpoint(HARMLESS, **{"data/0": b"N0" + PAYLOAD[:-1] + tail})
        assert blocked(inspected(hidden, tmp_path)) == {"hidden-pickle"}
    late = b"ccollections\nOrderedDict\n0" + b"N0" * 30_000 + PAYLOAD
    assert blocked(inspected(checkpoint(HARMLESS, **{"data/0": late}), tmp_path))


def test_what_must_be_a_pickle_and_meets_a_bound_is_refused(tmp_path: Path) -> None:
    assert "longer than a stack" in inspected(b"N" * 250_000, tmp_path).unreadable
    assert "longer than" in inspected(checkpoint(b"N" * 250_000), tmp_path).unreadable


def test_members_that_use_up_the_look_are_refused(tmp_path: Path) -> None:
    # Else they would hide what stands behind them.
    padding = {f"data/{number}": b"N0" * 3000 for number in range(201)}
    hidden = checkpoint(HARMLESS, **padding, **{"data/201": PAYLOAD})
    assert "longer than" in inspected(hidden, tmp_path).unreadable
