"""Whatever the program: what the real unpickler would import, the walk has seen."""

from __future__ import annotations

import io
import pickle
import sys
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from programs import ALLOWED, BAIT, DENIED, imports, programs

from gatekeeper.candidate import safetensors_file, state, torchfile
from gatekeeper.candidate.allowed import is_allowed
from gatekeeper.candidate.extraction import extract
from gatekeeper.candidate.look import look
from gatekeeper.candidate.pickles import Walk, suspicions, walk
from gatekeeper.candidate.refusals import QuarantineError
from gatekeeper.candidate.seen import Seen
from gatekeeper.candidate.standins import Inert

repeatable = settings(
    derandomize=True, deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow]
)


class Recorder(pickle.Unpickler):
    """Python's own unpickler in C; every name becomes something that does nothing."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream, encoding="latin-1")
        self.names: list[str] = []

    def find_class(self, module: str, name: str) -> Any:
        self.names.append(f"{module}.{name}".replace("__builtin__", "builtins"))
        return Inert

    def persistent_load(self, _: Any) -> str:
        return "os"


def imported(program: bytes, *, peeking: bool) -> list[str]:
    """Name what the unpickler imports, from a stream that lets itself be peeked into or not."""
    stream: Any = io.BytesIO(program)
    recorder = Recorder(io.BufferedReader(stream) if peeking else stream)
    with suppress(Exception):
        recorder.load()
    return recorder.names


def checkpoint(program: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("m/data.pkl", program)
    return out.getvalue()


def seen_of(content: bytes) -> Seen:
    seen = Seen()
    look(io.BytesIO(content), seen)
    return seen


def unfollowed(walked: Walk) -> bool:
    return any(found.name.startswith("<") for found in walked.globals)


@repeatable
@given(program=programs(), peeking=st.booleans())
@example(program=b"\x80\x04\x95\x02" + bytes(7) + b"g00\n\x93.", peeking=False)
def test_the_unpickler_imports_nothing_that_the_walk_has_not_seen(
    program: bytes, peeking: bool
) -> None:
    walked = walk(io.BytesIO(program))
    seen = {found.name for found in walked.globals}
    names = imported(program, peeking=peeking)
    assert unfollowed(walked) or set(names) <= seen
    if any(not is_allowed(name) for name in names):
        assert list(suspicions(walked))
        assert seen_of(checkpoint(program)).findings
    assert BAIT not in sys.modules


@settings(repeatable, max_examples=200)
@given(
    before=st.lists(imports(ALLOWED), max_size=3), denied=imports(DENIED),
    use=st.sampled_from([b")R.", b"N\x85R.", b")\x81.", b")}\x92.", b"}b.", b"0N.", b"."]),
)  # fmt: skip
def test_a_denied_name_is_blocked_wherever_it_is_used(
    before: list[bytes], denied: bytes, use: bytes
) -> None:
    program = b"\x80\x04" + b"".join(one + b"0" for one in before) + denied + use
    for content in (program, checkpoint(program)):
        assert {f.rule_id for f in seen_of(content).findings} == {"code-execution"}


@settings(repeatable, max_examples=250)
@given(program=programs())
def test_the_quarantine_reads_no_program_that_imports_more(program: bytes) -> None:
    content, out = checkpoint(program), io.BytesIO()
    try:
        loaded, swap = torchfile.read_zip(io.BytesIO(content), content)  # type: ignore[arg-type]
        tensors, _, _ = state.find_state(loaded, None)
    except Exception:
        return  # the child turns each into one line; what is no Exception would end it
    assert all(is_allowed(name) for name in imported(program, peeking=False))
    state.write_safetensors(tensors, out, swap=swap, most=1 << 20)
    safetensors_file.check(out)


@pytest.mark.parametrize(
    "program",
    [b"\x80\x04N.", b"cos\nsystem\n)R.", b"\x80\x02}r\xff\xff\xff\x7f.", b"(" * 9, b"\x95"],
)
def test_the_real_child_answers_with_an_error_of_ours(program: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(checkpoint(program))
    with (tmp_path / "m.pt").open("rb") as stream, pytest.raises(QuarantineError):
        extract(stream, "torch-zip", tmp_path / "out")
    assert {entry.name for entry in tmp_path.iterdir()} == {"m.pt", "out"}
