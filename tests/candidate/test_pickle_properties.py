"""What holds for every pickle: plain ones pass, foreign names are found, the walk always ends."""

from __future__ import annotations

import io
import keyword
import pickle
from pathlib import Path
from typing import Any

import pytest
from forged import blocked, inspected, stack_global
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatekeeper.candidate.allowed import is_allowed, is_module_name
from gatekeeper.candidate.pickles import suspicions, walk

repeatable = settings(derandomize=True, deadline=None, max_examples=150)
in_folder = settings(
    repeatable, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
    | st.tuples(inner, inner) | st.frozensets(st.integers(), max_size=4),
    max_leaves=20,
)  # fmt: skip
identifiers = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True).filter(
    lambda name: not keyword.iskeyword(name)
)
foreign = st.tuples(st.lists(identifiers, min_size=1, max_size=3).map(".".join), identifiers)
foreign = foreign.filter(lambda pair: not is_allowed(".".join(pair)))
foreign = foreign.filter(lambda pair: not is_module_name(".".join(pair)))


@repeatable
@given(plain, st.integers(0, 5))
def test_plain_containers_are_never_flagged(value: Any, protocol: int) -> None:
    pickled = pickle.dumps(value, protocol)
    walked = walk(io.BytesIO(pickled))
    assert list(suspicions(walked)) == []
    assert (walked.broken, walked.end) == ("", len(pickled))


@repeatable
@given(
    st.binary(max_size=400), st.sampled_from([b"", b"\x80\x02", b"\x80\x04\x95", b"(", b"cos\n"])
)
def test_the_walk_of_any_bytes_ends_without_an_exception(noise: bytes, head: bytes) -> None:
    content = head + noise
    walked = walk(io.BytesIO(content))
    assert 0 <= walked.end <= len(content)
    # What is neither walked to its end nor suspicious has a reason, and places are real.
    assert walked.broken or list(suspicions(walked)) or content[: walked.end].endswith(b".")
    assert all(0 <= found.offset < len(content) for found in suspicions(walked))


@in_folder
@given(
    noise=st.binary(max_size=200),
    head=st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\x89PNG"]),
)
def test_any_file_is_inspected_without_an_exception(
    noise: bytes, head: bytes, tmp_path: Path
) -> None:
    inspection = inspected(head + noise, tmp_path)
    assert inspection.artifact.bytes == len(head + noise)


@repeatable
@given(plain, plain, foreign, st.booleans())
def test_a_foreign_name_is_found_wherever_it_stands(
    before: Any, after: Any, name: tuple[str, str], stacked: bool
) -> None:
    module, attribute = name
    opcode = f"c{module}\n{attribute}\n".encode()
    if stacked:
        opcode = stack_global(module, attribute)
    # Honest values stand around it, without their heads and ends.
    opening = b"\x80\x04(" + pickle.dumps(before, 3)[2:-1]
    pickled = opening + opcode + pickle.dumps(after, 3)[2:-1] + b"t."
    offset = len(opening) + (len(opcode) - 1 if stacked else 0)
    found = {(s.name, s.offset) for s in suspicions(walk(io.BytesIO(pickled)))}
    assert (f"{module}.{attribute}", offset) in found


@pytest.mark.parametrize(
    ("bomb", "reason"),
    [
        (b"\x80\x04" + b"]" * 250_000 + b".", "a stack of"),
        (b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b".", ""),
        (b"\x80\x02]" + b"q\x00" + b"h\x00a" * 50_000 + b".", ""),
        (b"\x80\x02N" + b"2" * 250_000 + b".", "a stack of"),
        (b"\x80\x02" + b"N0" * 600_000 + b".", "longer than 1,000,000 opcodes"),
        (b"\x80\x04\x8e" + (1 << 60).to_bytes(8, "little") + b"x", "only 1 remain"),
        (b"\x80\x02T" + b"\xff\xff\xff\x7f" + b"x", "only 1 remain"),
        (b"c" + b"x" * 100_000, "no kind of model file"),
    ],
    ids=["lists", "tuples", "memo", "dup", "opcodes", "declared 2^60", "declared 2^31", "line"],
)
def test_bombs_are_unreadable_for_their_reason(bomb: bytes, reason: str, tmp_path: Path) -> None:
    inspection = inspected(bomb, tmp_path)
    assert reason in inspection.unreadable
    assert not blocked(inspection)


def test_a_flood_of_imports_is_blocked_with_a_hundred_findings(tmp_path: Path) -> None:
    inspection = inspected(b"\x80\x02" + b"cos\nx\n0" * 20_000 + b"N.", tmp_path)
    assert blocked(inspection) == {"code-execution"}
    assert len(inspection.findings) == 100


def test_a_thousand_pickles_are_enough(tmp_path: Path) -> None:
    inspection = inspected(b"\x80\x02N." * 1002, tmp_path)
    assert "more than 1,000 others" in inspection.unreadable
