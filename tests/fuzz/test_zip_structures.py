"""Archives whose two directories say what they like: never an exception, never clean by a lie."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass, replace

from hypothesis import given, settings
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


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """Put members, directory and end record together, with lies where the entries hold some."""
    before = draw(st.sampled_from([b"", b"", b"", b"#!/bin/sh\n", PAYLOAD]))
    body, directory = before, b""
    listed = draw(st.lists(entries, min_size=1, max_size=4))
    for entry in listed:
        packer = zlib.compressobj(wbits=-15)
        deflated = packer.compress(entry.held) + packer.flush()
        packed = deflated if entry.method == 8 else entry.held
        local = entry.name if entry.local is None else entry.local
        words = (entry.flags, entry.method, 0, 0x21, zlib.crc32(entry.held))
        sizes = (max(0, len(packed) + entry.grown), max(0, len(entry.held) + entry.grown))
        place = len(body) - len(before) + entry.shifted
        body += (
            struct.pack("<4s5H3I2H", b"PK\3\4", 20, *words, *sizes, len(local), 0) + local + packed
        )
        directory += struct.pack(
            "<4s6H3I5H2I", b"PK\1\2", 20, 20, *words, *sizes, len(entry.name), 0, 0, 0, 0, 0, place
        ) + entry.name  # fmt: skip
    count = len(listed) + draw(st.sampled_from([0, 0, 0, 0, 1, -1]))
    start = len(body) - len(before) + draw(st.sampled_from([0, 0, 0, 0, 1, -1, 1000]))
    comment = draw(st.sampled_from([b"", b"", b"x", b"PK\5\6"]))
    end = struct.pack(
        "<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(directory), max(0, start), len(comment)
    )
    return body + directory + end + comment + draw(st.sampled_from([b"", b"", b"", b"tail"]))


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


@repeatable
@given(archives())
def test_a_clean_archive_is_what_other_readers_read(archive: bytes) -> None:
    seen = seen_of(archive)
    if seen.findings or seen.unreadable:
        return
    stream = io.BytesIO(archive)
    ours = {one.name: content(stream, one, one.size + 1) for one in read_archive(stream).members}
    with zipfile.ZipFile(io.BytesIO(archive)) as theirs:
        assert ours == {name: theirs.read(name) for name in theirs.namelist()}


@settings(repeatable, max_examples=100)
@given(archives())
def test_the_reader_ends_on_any_archive(archive: bytes) -> None:
    with suppress(Exception):  # the child turns each into one line
        torchfile.read_zip(io.BytesIO(archive), archive)  # type: ignore[arg-type]


def test_honest_structure_is_clean() -> None:
    """The strategy's own frame holds no lie that would hide what it tests."""
    honest = Entry(name=b"m/data.pkl", held=b"\x80\x02}.")
    assert replace(honest, flags=0) == honest
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("m/data.pkl", honest.held)
    assert seen_of(out.getvalue()).unreadable == ""
