"""Archives whose two directories say what they like: never an exception, never clean by a lie."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st

from gatekeeper.candidate import torchfile
from gatekeeper.candidate.archive import content, read_archive
from gatekeeper.candidate.look import look
from gatekeeper.candidate.seen import Seen

PAYLOAD = b"\x80\x02cos\nsystem\n(S'true'\ntR."
repeatable = settings(derandomize=True, deadline=None, max_examples=250)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One member, as the central directory has it and, where they differ, as its own header has."""

    name: bytes
    held: bytes
    local: bytes | None = None
    flags: int = 0
    method: int = 0
    grown: int = 0  # what the sizes are off by
    shifted: int = 0  # what the place of its header is off by


_names = st.sampled_from(
    [
        b"m/data.pkl",
        b"m/data/0",
        b"m/version",
        b"m/x.json",
        b"../x",
        b"/x",
        b"m\\..\\x",
        b"",
        b"\xff",
    ]
)
_held = st.sampled_from([b"\x80\x02}.", PAYLOAD, b"3\n", b"", bytes(40), b"PK\x03\x04" * 3])
_rarely = st.integers(0, 19)
entries = st.builds(
    Entry, name=_names, held=_held, local=st.none() | st.none() | _names,
    flags=_rarely.map(lambda n: {1: 1, 2: 8, 3: 0x800, 4: 0x2000}.get(n, 0)),
    method=_rarely.map(lambda n: {1: 8, 2: 8, 3: 12, 4: 99}.get(n, 0)),
    grown=_rarely.map(lambda n: {1: 1, 2: -1, 3: 0xFFFFFF}.get(n, 0)),
    shifted=_rarely.map(lambda n: {1: 1, 2: 0xFFFFFF}.get(n, 0)),
)  # fmt: skip
_honest = st.builds(
    Entry, name=st.sampled_from([b"m/data.pkl", b"m/data/0", b"m/data/1", b"m/x.json"]),
    held=st.sampled_from([b"\x80\x02}.", b"", bytes(40)]), method=st.sampled_from([0, 8]),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What stands around the members, and what the end record is off by."""

    before: bytes = b""
    after: bytes = b""
    comment: bytes = b""
    count: int = 0
    start: int = 0


def _of(*values: object) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


_frames = st.builds(
    Frame, before=_of(b"", b"", b"", b"#!/bin/sh\n", PAYLOAD), after=_of(b"", b"", b"", b"tail"),
    comment=_of(b"", b"", b"x", b"PK\5\6"), count=_of(0, 0, 0, 0, 1, -1),
    start=_of(0, 0, 0, 0, 1, -1, 1000),
)  # fmt: skip
VERSION = Entry(name=b"m/version", held=b"3\n")


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """Members between a version, which torch asks for, and a frame; any of them may lie."""
    listed = draw(st.lists(entries | _honest, min_size=1, max_size=4))
    return packed([*listed, *draw(_of([VERSION], []))], draw(_frames | st.just(Frame())))


def packed(listed: list[Entry], frame: Frame) -> bytes:
    """Put members, directory and end record together."""
    before, body, directory = frame.before, frame.before, b""
    for entry in listed:
        packer = zlib.compressobj(wbits=-15)
        deflated = packer.compress(entry.held) + packer.flush()
        stored = deflated if entry.method == 8 else entry.held
        local = entry.name if entry.local is None else entry.local
        words = (entry.flags, entry.method, 0, 0x21, zlib.crc32(entry.held))
        sizes = (max(0, len(stored) + entry.grown), max(0, len(entry.held) + entry.grown))
        place = len(body) - len(before) + entry.shifted
        body += (
            struct.pack("<4s5H3I2H", b"PK\3\4", 20, *words, *sizes, len(local), 0) + local + stored
        )
        directory += struct.pack(
            "<4s6H3I5H2I", b"PK\1\2", 20, 20, *words, *sizes, len(entry.name), 0, 0, 0, 0, 0, place
        ) + entry.name  # fmt: skip
    count, start = len(listed) + frame.count, max(0, len(body) - len(before) + frame.start)
    end = struct.pack(
        "<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(directory), start, len(frame.comment)
    )
    return body + directory + end + frame.comment + frame.after


def seen_of(archive: bytes) -> Seen:
    seen = Seen()
    look(io.BytesIO(archive), seen)
    return seen


@repeatable
@given(archives())
def test_no_archive_with_a_payload_is_clean(archive: bytes) -> None:
    seen = seen_of(archive)
    if PAYLOAD in archive:
        assert seen.findings or seen.unreadable


def of_torch(archive: bytes) -> dict[str, bytes]:
    """Read an archive as `torch.load` does."""
    reader = torch._C.PyTorchFileReader(io.BytesIO(archive))
    return {name: reader.get_record(name) for name in reader.get_all_records()}


def of_ours(archive: bytes) -> dict[str, bytes]:
    """Read it as the quarantine child does, by names without their folder."""
    stream = io.BytesIO(archive)
    return {
        one.name.partition("/")[2]: content(stream, one, one.size + 1)
        for one in read_archive(stream).members
    }


@settings(repeatable, max_examples=600)
@given(archives())
def test_a_clean_archive_is_what_torch_reads(archive: bytes) -> None:
    seen = seen_of(archive)
    if seen.findings or seen.unreadable:
        return
    try:
        theirs = of_torch(archive)
    except (RuntimeError, UnicodeDecodeError):
        return  # torch takes fewer than are clean, such as those without a version
    event("clean, and torch reads it")
    assert of_ours(archive) == theirs


@settings(repeatable, max_examples=100)
@given(archives())
def test_the_reader_ends_on_any_archive(archive: bytes) -> None:
    with suppress(Exception):  # the child turns each into one line
        torchfile.read_zip(io.BytesIO(archive), archive)  # type: ignore[arg-type]


ROOT = Entry(name=b"m/data.pkl", held=b"\x80\x02}.")
HONEST = [ROOT, Entry(name=b"m/data/0", held=bytes(40), method=8), VERSION]


def test_honest_structure_is_clean() -> None:
    """The strategy's own frame holds no lie that would hide what it tests."""
    archive = packed(HONEST, Frame())
    seen = seen_of(archive)
    assert (seen.findings, seen.unreadable, seen.members) == ([], "", 3)
    told = {"data.pkl": ROOT.held, "data/0": bytes(40), "version": b"3\n"}
    assert of_ours(archive) == of_torch(archive) == told
    loaded, _ = torchfile.read_zip(io.BytesIO(archive), archive)  # type: ignore[arg-type]
    assert loaded == {}


@pytest.mark.parametrize(
    "lie",
    [
        {"local": b"m/other"}, {"flags": 1}, {"flags": 0x2000}, {"method": 12}, {"method": 99},
        {"grown": 1}, {"grown": -1}, {"shifted": 1}, {"shifted": 0xFFFFFF}, {"held": PAYLOAD},
        {"name": b"../x"}, {"name": b"m\\..\\x"}, {"name": b"m/DATA/0"},
    ],
    ids=str,
)  # fmt: skip
def test_each_lie_alone_is_told(lie: dict[str, Any]) -> None:
    seen = seen_of(packed([replace(ROOT, **lie), *HONEST[1:]], Frame()))
    assert seen.findings or seen.unreadable


@pytest.mark.parametrize(
    "lie",
    [{"before": b"#!/bin/sh\n"}, {"after": b"tail"}, {"comment": b"x"}, {"comment": b"PK\5\6"},
     {"count": 1}, {"count": -1}, {"start": 1}, {"start": -1}],
    ids=str,
)  # fmt: skip
def test_each_lie_of_the_frame_alone_is_told(lie: dict[str, Any]) -> None:
    seen = seen_of(packed(HONEST, Frame(**lie)))
    assert seen.findings or seen.unreadable
