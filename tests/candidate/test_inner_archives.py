"""Archives inside of archives: a zip is looked into, what is packed otherwise is refused."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from forged import HARMLESS, PAYLOAD, blocked, checkpoint, inspected, zipped
from torch import nn

INNER = checkpoint(b"\x80\x02" + PAYLOAD)
STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


def tarred(content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("data.pkl")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


PACKED = {
    "gzip": gzip.compress(PAYLOAD), "bzip2": bz2.compress(PAYLOAD), "xz": lzma.compress(PAYLOAD),
    "zstd": b"\x28\xb5\x2f\xfd" + PAYLOAD, "7z": b"7z\xbc\xaf\x27\x1c" + PAYLOAD,
    "lz4": b"\x04\x22\x4d\x18" + PAYLOAD, "tar": tarred(PAYLOAD),
}  # fmt: skip


@pytest.mark.parametrize("name", ["inner.pt", "data/0", "notes.txt"])
@pytest.mark.parametrize("compression", [STORED, DEFLATED])
def test_a_payload_in_an_inner_archive_is_blocked(
    name: str, compression: int, tmp_path: Path
) -> None:
    members = {"data.pkl": HARMLESS, "version": b"3\n", name: INNER}
    inspection = inspected(zipped(members, compression=compression), tmp_path)
    assert blocked(inspection) == {"code-execution"}
    assert inspection.findings[0].member == f"archive/{name}!archive/data.pkl"
    assert inspection.findings[0].offset == 2
    assert inspection.members == 3


def nested(content: bytes, times: int) -> bytes:
    for _ in range(times):
        content = checkpoint(HARMLESS, **{"inner.pt": content})
    return content


def test_three_archives_deep_is_looked_into_and_four_are_refused(tmp_path: Path) -> None:
    found = inspected(nested(INNER, 3), tmp_path).findings
    assert [one.member.count("!") for one in found] == [3]
    assert "inside of more than 2 others" in inspected(nested(INNER, 4), tmp_path).unreadable
    clean = inspected(nested(checkpoint(HARMLESS), 3), tmp_path)
    assert (clean.findings, clean.unreadable) == ((), "")


def test_a_damaged_inner_archive_is_undecided_and_blocked_where_a_payload_is_inside(
    tmp_path: Path,
) -> None:
    cut = checkpoint(HARMLESS)[:-30]
    told = inspected(checkpoint(HARMLESS, **{"inner.pt": cut}), tmp_path)
    assert (told.findings, "no end record" in told.unreadable) == ((), True)
    assert blocked(inspected(checkpoint(HARMLESS, **{"inner.pt": INNER[:-30]}), tmp_path))


@pytest.mark.parametrize("packer", PACKED)
def test_what_is_packed_otherwise_is_refused_but_for_storages(packer: str, tmp_path: Path) -> None:
    told = inspected(checkpoint(HARMLESS, **{"inner": PACKED[packer]}), tmp_path)
    assert f"'archive/inner' is an archive of its own ({packer})" in told.unreadable
    assert "inspect what is in it" in told.hint
    chance = inspected(checkpoint(HARMLESS, **{"data/0": PACKED[packer]}), tmp_path)
    assert (chance.findings, chance.unreadable) == ((), "")


def test_numbers_that_begin_like_a_zip_by_chance_are_numbers(tmp_path: Path) -> None:
    for compression in (STORED, DEFLATED):
        members = {"data.pkl": HARMLESS, "data/0": b"PK\x03\x04" + bytes(range(256)) * 40}
        seen = inspected(zipped(members, compression=compression), tmp_path)
        assert (seen.findings, seen.unreadable) == ((), "")


def test_inner_archives_share_what_one_archive_may_inflate_to(tmp_path: Path) -> None:
    inner = zipped({"zeros": bytes(14 << 20)}, compression=DEFLATED)
    one = inspected(checkpoint(HARMLESS, **{"0.zip": inner}), tmp_path)
    assert (one.findings, one.unreadable) == ((), "")
    two = inspected(checkpoint(HARMLESS, **{"0.zip": inner, "1.zip": inner}), tmp_path)
    assert "hold too much to look at" in two.unreadable
    third = {"0.zip": inner, "1.zip": inner, "2.zip": INNER}
    assert inspected(checkpoint(HARMLESS, **third), tmp_path).unreadable


def test_code_of_torchscript_is_not_let_through_inside_of_weights(tmp_path: Path) -> None:
    script = zipped(
        {
            "data.pkl": b"\x80\x02c__torch__\nNet\n)\x81.",
            "constants.pkl": b"\x80\x02).",
            "code/__torch__.py": b"",
        }
    )
    told = inspected(checkpoint(HARMLESS, **{"inner.pt": script}), tmp_path)
    assert "is TorchScript" in told.unreadable.replace("this ", "")


@pytest.mark.filterwarnings("ignore")
def test_a_program_that_torch_exported_is_refused_as_before(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    program = torch.export.export(network, (torch.rand(1, 3, 8, 8),))
    torch.export.save(program, tmp_path / "model.pt2")
    told = inspected((tmp_path / "model.pt2").read_bytes(), tmp_path)
    assert (told.artifact.kind, told.findings) == ("pt2", ())
    assert "exported program" in told.unreadable
