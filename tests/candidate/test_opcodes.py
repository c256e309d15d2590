"""Opcodes are read as the unpickler in C reads them: what it imports, the walk has seen."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from forged import PAYLOAD, blocked, checkpoint, inspected

from gatekeeper.candidate.pickles import suspicions, walk


class Recorder(pickle.Unpickler):
    """Resolves every name to something that does nothing."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="latin-1")
        self.names: list[str] = []

    def find_class(self, module: str, name: str) -> Any:
        self.names.append(f"{module}.{name}")
        return lambda *_, **__: None


def imported(content: bytes) -> list[str]:
    recorder = Recorder(content)
    recorder.load()
    return recorder.names


def frame(content: bytes, missing: int = 0) -> bytes:
    return b"\x95" + struct.pack("<Q", len(content) - missing) + content


LENIENT = [
    b"Np00\n0", b"Np01\n0g01\n0", b"Np5\0\n0", b"I0x10\n0", b"I010\n0", b"I5\0x\n0", b"L0x10L\n0",
    b"I\0x\n0", b"F1.5\0x\n0", b"S'\\xff'\n0", b"N\x85q\x000",
]  # fmt: skip


@pytest.mark.parametrize("start", LENIENT)
def test_what_the_unpickler_accepts_hides_nothing(start: bytes, tmp_path: Path) -> None:
    assert imported(start + PAYLOAD) == ["os.system"]
    assert blocked(inspected(start + PAYLOAD, tmp_path)) == {"code-execution"}
    hidden = checkpoint(pickle.dumps({}, 2), **{"data/0": start + PAYLOAD})
    assert blocked(inspected(hidden, tmp_path)) == {"hidden-pickle"}


NAMES = b"Vos\np2\n0Vsystem\np3\n0Vcollections\np12\n0VOrderedDict\np13\n0"
FRAMED = {
    # To the unpickler these fetch 2 and 3 from the memo, to whom reads on, 12 and 13.
    "a line": NAMES + frame(b"g1") + b"2\n" + frame(b"g1") + b"3\n\x93)R.",
    "an argument": frame(b"X\x17\x00\x00\x00") + b"ccollections\nabc\n)R.---" + b"0" + PAYLOAD,
    "a text": frame(b"c\xff") + b"os\nsystem\n)R.",
    "a frame": frame(b"N0" + frame(b"N0")) + PAYLOAD,
    "the end": frame(b"N.N") + PAYLOAD,
}


@pytest.mark.parametrize("name", FRAMED)
def test_a_frame_that_does_not_end_between_opcodes_is_blocked(name: str, tmp_path: Path) -> None:
    inspection = inspected(b"\x80\x04" + FRAMED[name], tmp_path)
    assert blocked(inspection) == {"code-execution"}
    assert "hidden behind a frame" in inspection.findings[0].message


def test_the_unpickler_reads_another_program_at_the_end_of_a_frame() -> None:
    """Why such frames are refused: what is left in them is dropped."""
    assert imported(b"\x80\x04" + FRAMED["a line"]) == ["os.system"]


@pytest.mark.parametrize("protocol", [4, 5])
def test_frames_of_honest_picklers_pass(protocol: int) -> None:
    content = [os.urandom(70_000), "x" * 65_530, *range(40_000), {"a": os.urandom(100)}, ["b"] * 9]
    file = io.BytesIO()
    pickle.Pickler(file, protocol).dump(content)
    slowly = pickle._dumps(content, protocol)  # type: ignore[attr-defined]
    for pickled in (pickle.dumps(content, protocol), file.getvalue(), slowly):
        walked = walk(io.BytesIO(pickled))
        assert (walked.broken, list(suspicions(walked))) == ("", [])


def test_long_texts_are_not_kept() -> None:
    """One sign beyond the first plane makes each of its neighbours take four bytes."""
    long = ("x" * 1_000_000 + "\N{PILE OF POO}").encode()
    content = io.BytesIO((b"X" + struct.pack("<I", len(long)) + long) * 20 + b".")
    tracemalloc.start()
    walk(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000
