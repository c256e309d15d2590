"""Zip archives are judged by both of their directories, before anything is inflated."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from forged import HARMLESS, PAYLOAD, blocked, central, checkpoint, inspected, overwritten, zipped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatekeeper.candidate.archive import ArchiveError, read_archive

GOOD = checkpoint(HARMLESS, **{"data/0": bytes(64)})
BAD = checkpoint(b"\x80\x02" + PAYLOAD, **{"data/0": bytes(64)})


def half(archive: bytes) -> bytes:
    return archive[: archive.index(b"PK\x01\x02") // 2 + 40]


def without_end(archive: bytes) -> bytes:
    return archive[: archive.index(b"PK\x05\x06")]


def wrong_checksum(archive: bytes) -> bytes:
    return overwritten(archive, central(archive) + 16, b"\1\2\3\4")


def encrypted(archive: bytes) -> bytes:
    flagged = overwritten(archive, central(archive) + 8, b"\1")
    return overwritten(flagged, 6, b"\1")


def odd_flags(archive: bytes) -> bytes:
    return overwritten(archive, central(archive) + 9, b"\x20")


def renamed_locally(archive: bytes) -> bytes:
    return archive.replace(b"archive/data.pkl", b"archive/data.txt", 1)


def odd_method(archive: bytes) -> bytes:
    return overwritten(archive, central(archive) + 10, struct.pack("<H", 12))


def before(archive: bytes) -> bytes:
    return b"#!/bin/sh\nexit\n" + archive


def after(archive: bytes) -> bytes:
    return archive + b"\nexit\n"


def no_local_header(archive: bytes) -> bytes:
    return overwritten(archive, 0, b"PK\x03\x05")


def beginning_before_the_file(archive: bytes) -> bytes:
    return overwritten(
        archive, end := archive.index(b"PK\5\6") + 16, archive[end : end + 1] + b"\7"
    )


DAMAGES = {
    half: "no end record", without_end: "no end record", wrong_checksum: "checksum",
    encrypted: "encrypted or has odd flags", odd_flags: "odd flags",
    renamed_locally: "in its local header", odd_method: "compressed by method 12",
    before: "15 bytes stand before", after: "6 bytes stand after", no_local_header: "",
    beginning_before_the_file: "no local header",
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_undecided_and_blocked_where_a_payload_is_inside(
    damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    harmless = inspected(damage(GOOD), tmp_path)
    assert DAMAGES[damage] in harmless.unreadable
    assert harmless.unreadable
    assert not blocked(harmless)
    if damage is not no_local_header:
        assert blocked(inspected(damage(BAD), tmp_path)) & {"code-execution", "hidden-pickle"}


def test_a_payload_is_found_in_the_half_of_a_deflated_archive(tmp_path: Path) -> None:
    packed = zipped({"data.pkl": b"\x80\x02" + PAYLOAD, "x": HARMLESS}, compression=8)
    assert blocked(inspected(without_end(packed), tmp_path)) == {"hidden-pickle"}


def test_two_members_of_one_name_are_undecided_and_both_are_read(tmp_path: Path) -> None:
    for twins in ([HARMLESS, PAYLOAD], [PAYLOAD, HARMLESS], [HARMLESS, HARMLESS]):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for number, twin in enumerate(twins):
                archive.writestr(f"archive/data{number}.pkl", twin)
        forged = out.getvalue().replace(b"data1.pkl", b"data0.pkl")
        inspection = inspected(forged, tmp_path)
        assert "stands there 2 times" in inspection.unreadable
        assert blocked(inspection) == ({"code-execution"} if PAYLOAD in twins else set())


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "..\\x", "\\x", "C:/x", "a/../../x"])
def test_a_member_that_leaves_the_archive_is_blocked(name: str, tmp_path: Path) -> None:
    inspection = inspected(zipped({"archive/data.pkl": HARMLESS, name: b"x"}, prefix=""), tmp_path)
    assert blocked(inspection) == {"archive-structure"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.pt"]


def test_a_link_inside_of_an_archive_is_blocked(tmp_path: Path) -> None:
    link = overwritten(GOOD, central(GOOD, 2) + 38, struct.pack("<I", 0o120777 << 16))
    inspection = inspected(link, tmp_path)
    assert blocked(inspection) == {"archive-structure"}
    assert "is a link" in inspection.findings[0].message


def _bomb() -> bytes:
    return zipped({"data.pkl": HARMLESS, "data/0": bytes(64 << 20)}, compression=8)


def _repeated(archive: bytes, count: int, declared: int) -> bytes:
    """Write the only entry of the directory `count` times."""
    body, entry = archive[: central(archive)], archive[central(archive) : archive.index(b"PK\5\6")]
    sizes = (len(entry) * count, len(body))
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, declared, declared, *sizes, 0)
    return body + entry * count + end


def _overlapping() -> bytes:
    """Let many entries of the directory name one and the same member (Fifield, 2019)."""
    return _repeated(zipped({"x.pkl": b"\x80\x02" + b"N0" * 500 + b"N."}, prefix=""), 2000, 2000)


def _many_members(declared: int) -> bytes:
    """Let 50,001 entries name one empty member; `declared` is what the end record says."""
    return _repeated(zipped({"x": b""}, prefix=""), 50_001, declared)


def _many_members_behind_a_comment() -> bytes:
    """Let a comment keep the zip64 record, which counts, far from the end of the file."""
    honest = _many_members(1)
    end = honest.index(b"PK\5\6")
    start, size = central(honest), end - central(honest)
    record = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1 << 40, 1 << 40, size, start)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
    comment = struct.pack("<H", 65_535) + bytes(65_535)
    return honest[:end] + record + locator + honest[end:-2] + comment


def _huge_declared() -> bytes:
    place = central(GOOD) + 20
    return overwritten(GOOD, place, struct.pack("<2I", 0xFFFFFFF0, 0xFFFFFFF0))


@pytest.mark.parametrize(
    ("bomb", "reason"),
    [
        (_bomb, "would inflate to 67"),
        (_overlapping, "overlap"),
        (lambda: _many_members(50_001), "declares 50,001 members"),
        (lambda: _many_members(1), "has 50,001 members"),
        (_many_members_behind_a_comment, "declares 1,099,511,627,776 members"),
        (_huge_declared, "overlap"),
    ],
    ids=["inflating", "overlapping", "many", "many, hidden", "many, zip64", "huge"],
)
def test_a_bomb_is_refused_before_inflating(
    bomb: Callable[[], bytes], reason: str, tmp_path: Path
) -> None:
    content = bomb()
    with pytest.raises(ArchiveError, match=reason):
        read_archive(io.BytesIO(content))
    inspection = inspected(content, tmp_path)
    assert reason in inspection.unreadable


def test_a_member_that_inflates_beyond_its_word_is_refused(tmp_path: Path) -> None:
    archive = zipped({"data.pkl": HARMLESS, "data/0": bytes(1 << 20)}, compression=8)
    patched = overwritten(archive, central(archive, 1) + 24, struct.pack("<I", 100))
    assert "damaged" in inspected(patched, tmp_path).unreadable
    assert zlib.crc32(bytes(100)) != zlib.crc32(bytes(1 << 20))


@settings(
    derandomize=True,
    deadline=None,
    max_examples=80,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(place=st.integers(0, len(BAD) - 1), patch=st.binary(min_size=1, max_size=6))
def test_no_patch_makes_a_bad_archive_clean(place: int, patch: bytes, tmp_path: Path) -> None:
    patched = overwritten(BAD, place, patch)[: len(BAD)]
    inspection = inspected(patched, tmp_path)
    assert blocked(inspection) or inspection.unreadable
