"""Content decides what a file is, and each stranger gets its own reason."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import tarfile
import warnings
import zlib
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from forged import HARMLESS, PAYLOAD, blocked, checkpoint, inspect, inspected, zipped
from safetensors.torch import save

from gatekeeper.candidate.kinds import LEGACY_MAGIC, UNREADABLE


def array() -> bytes:
    out = io.BytesIO()
    np.save(out, np.zeros(3))
    return out.getvalue()


PNG = b"\x89PNG\r\n\x1a\n" + bytes(32)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
NOISE = np.random.default_rng(0).bytes(5000)


def tarred(name: str = "model.pkl", content: bytes = HARMLESS) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


STRANGERS = {
    "empty": b"", "one-byte": b"\x80", "git-lfs": LFS, "png": PNG, "unknown": NOISE,
    "html": b"\n <!DOCTYPE html><html><body>404</body></html>", "tar": tarred(),
    "gzip": gzip.compress(HARMLESS), "zlib": zlib.compress(HARMLESS),
    "bz2": bz2.compress(HARMLESS), "xz": lzma.compress(HARMLESS),
    "lz4": b"\x04\x22\x4d\x18" + bytes(40), "zstd": b"\x28\xb5\x2f\xfd" + bytes(40),
    "npy": array(), "savedmodel": b"\x08\x01\x12\xa0\x04\n\x9a\x04\n\x02v1" + bytes(40),
    "7z": b"7z\xbc\xaf\x27\x1c" + bytes(40),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(40), "zip": zipped({"readme.txt": b"hello"}),
    "keras": zipped({"metadata.json": b"{}", "config.json": b"{}"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", STRANGERS)
@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_a_stranger_is_undecided_with_its_own_reason(kind: str, name: str, tmp_path: Path) -> None:
    inspection = inspected(STRANGERS[kind], tmp_path, name)
    assert inspection.artifact.kind == kind
    assert (inspection.unreadable, inspection.hint) == UNREADABLE[kind]
    assert inspection.findings == ()


def test_all_reasons_differ_and_lfs_names_its_remedy() -> None:
    reasons = [reason for reason, _ in UNREADABLE.values()]
    assert len(set(reasons)) == len(reasons)
    assert "git lfs pull" in UNREADABLE["git-lfs"][1]


@pytest.mark.parametrize(
    "head", [b"\x08\x08\x12\x07pytorch", b"\x3a\x02\x12\x00", b"\x42\x02\x10\x12:\x00"]
)
def test_onnx_is_known_by_its_outermost_fields(head: bytes, tmp_path: Path) -> None:
    for content in (head, head + bytes(40)):
        known = content == head or head.startswith(b"\x08")
        assert (inspected(content, tmp_path, "m").artifact.kind == "onnx") == known
        assert inspected(content, tmp_path).findings == ()


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors", "model.onnx", "model.txt", "m"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_plain_pickle_is_blocked_under_every_name(
    name: str, protocol: int, tmp_path: Path
) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            import os

            return os.system, ("true",)

    inspection = inspected(pickle.dumps([1, Payload()], protocol), tmp_path, name)
    assert blocked(inspection) == {"code-execution"}
    assert inspection.artifact.kind == "pickle"
    assert "system" in inspection.findings[0].message


@pytest.mark.parametrize("head", [b"\x89PNG\n", b"\n", b"<html>\n", b"\x88", LFS])
def test_a_pickle_behind_the_head_of_another_kind_is_blocked_where_it_runs(
    head: bytes, tmp_path: Path
) -> None:
    inspection = inspected(head + PAYLOAD, tmp_path)
    runs = head in (b"\x89PNG\n", b"\x88")  # the others are no opcodes
    assert blocked(inspection) == ({"code-execution"} if runs else set())
    assert inspection.findings or inspection.unreadable


def test_a_tar_that_begins_like_a_legacy_file_is_a_tar(tmp_path: Path) -> None:
    """Torch tries tar first, and would unpickle what stands in it."""
    forged = bytearray(tarred(content=PAYLOAD))
    forged[: len(LEGACY_MAGIC)] = LEGACY_MAGIC
    inspection = inspected(bytes(forged), tmp_path)
    assert inspection.artifact.kind == "tar"
    assert inspection.unreadable


def _summed(head: bytes) -> bytes:
    """Write a tar header's checksum."""
    blank = head[:148] + b" " * 8 + head[156:512]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:] + head[512:]


@pytest.mark.parametrize("kind", ["pickle", "safetensors"])
def test_what_is_also_a_tar_is_a_tar(kind: str, tmp_path: Path) -> None:
    """Torch tries tar before all but zip, and tar was older than its magic."""
    behind = tarred("storages", PAYLOAD)
    if kind == "pickle":
        head = bytearray(512)
        head[:4] = b"\x80\x02}."
        for place, count in ((100, 7), (108, 7), (116, 7), (124, 11), (136, 11)):
            head[place : place + count] = b"0" * count
    else:
        tensor = f'"t":{{"dtype":"U8","shape":[{len(behind)}],"data_offsets":[0,{len(behind)}]}}'
        header = f'{{"__metadata__":{{"a":"{"0" * 330}"}},{tensor}}}'.encode().ljust(504)
        head = bytearray(len(header).to_bytes(8, "little") + header)
    both = _summed(bytes(head)) + behind
    with tarfile.open(fileobj=io.BytesIO(both), mode="r:") as archive:
        assert "storages" in archive.getnames()
    inspection = inspected(both, tmp_path)
    assert inspection.artifact.kind == "tar"
    assert inspection.unreadable


def test_an_old_tar_without_a_magic_is_no_legacy_file(tmp_path: Path) -> None:
    """It is both, and torch tries tar first."""
    forged = bytearray(LEGACY_MAGIC + b"\x80\x02M\xe9\x03." + b"\x80\x02}X\xdc\x03\x00\x00")
    forged = forged.ljust(1024, b"\0") + b"0." + b"\x80\x02}." + b"\x80\x02]."
    for place, octal in ((100, b"0000644"), (124, b"00000000000"), (136, b"00000000000")):
        forged[place : place + len(octal)] = octal
    forged[148:156] = b" " * 8
    forged[148:156] = b"%06o\0 " % sum(forged[:512])
    with tarfile.open(fileobj=io.BytesIO(forged), mode="r:") as archive:
        assert archive.getmembers()
    assert pickle.load(io.BytesIO(forged)) == 0x1950A86A20F9469CFC6C
    inspection = inspected(bytes(forged), tmp_path)
    assert inspection.artifact.kind == "tar"
    assert inspection.unreadable


@pytest.mark.parametrize("name", ["model.pt", "model.bin", "model.png", "model"])
def test_honest_weights_are_clean_under_every_name(name: str, tmp_path: Path) -> None:
    tensors = {"w": torch.rand(20, 30, generator=torch.Generator().manual_seed(0))}
    for legacy in (True, False):
        out = io.BytesIO()
        torch.save(tensors, out, _use_new_zipfile_serialization=not legacy)
        inspection = inspected(out.getvalue(), tmp_path, name)
        assert inspection.artifact.kind == ("torch-legacy" if legacy else "torch-zip")
        assert (inspection.findings, inspection.unreadable) == ((), "")
    inspection = inspected(save(tensors), tmp_path, name)
    assert inspection.artifact.kind == "safetensors"
    assert (inspection.findings, inspection.unreadable) == ((), "")


def script(pickled: bytes) -> bytes:
    return zipped({"data.pkl": pickled, "constants.pkl": b"\x80\x02).", "code/__torch__.py": b""})


def test_torchscript_is_undecided_and_blocked_where_it_imports_more(tmp_path: Path) -> None:
    own = b"\x80\x02c__torch__\nNet\n)\x81."
    assert "TorchScript" in inspected(script(own), tmp_path).unreadable
    assert inspected(script(own), tmp_path).findings == ()
    assert blocked(inspected(script(own[:-1] + b"0" + PAYLOAD), tmp_path)) == {"code-execution"}


def test_random_weights_never_look_like_a_hidden_pickle(tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    storages = {f"data/{number}": chance.bytes(64) for number in range(3000)}
    inspection = inspected(checkpoint(HARMLESS, **storages), tmp_path)
    assert (inspection.findings, inspection.unreadable) == ((), "")


@pytest.mark.parametrize(
    "text",
    [b"config\nsetup\nRest of it", b"cat\ndog\nand more\n", b"(a, b)\nios\nx\n", b"I am\nR."],
)
def test_plain_text_is_no_pickle(text: bytes, tmp_path: Path) -> None:
    assert inspected(text, tmp_path).findings == ()
    assert inspected(checkpoint(HARMLESS, **{"note.txt": text}), tmp_path).findings == ()


FROZEN = b"\n\x2e\n\x05input\x12\x0bPlaceholder" + bytes(30)


def test_a_frozen_graph_is_told_by_its_first_node(tmp_path: Path) -> None:
    inspection = inspected(FROZEN, tmp_path, "model.pb")
    assert (inspection.artifact.kind, inspection.findings) == ("savedmodel", ())


@pytest.mark.parametrize("length", [0x178, 0x5D, 0x9C78, 0x8B1F])
def test_a_header_whose_length_reads_like_another_magic_is_safetensors(
    length: int, tmp_path: Path
) -> None:
    header = b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'.ljust(length)
    content = length.to_bytes(8, "little") + header + b"x"
    inspection = inspected(content, tmp_path)
    assert (inspection.artifact.kind, inspection.unreadable) == ("safetensors", "")


class Payload:
    """Would run `true`."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("true",)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("count", [3, 4000])
def test_joblib_is_undecided_and_blocked_where_it_runs(
    protocol: int, count: int, tmp_path: Path
) -> None:
    weights = np.random.default_rng(0).normal(size=(count, 7))
    joblib.dump({"w": weights, "b": weights[0]}, tmp_path / "m", protocol=protocol)
    seen = inspected((tmp_path / "m").read_bytes(), tmp_path, "model.joblib")
    assert seen.findings == ()
    assert (seen.unreadable, seen.hint) == UNREADABLE["joblib"]
    for order in ([Payload(), weights], [weights, Payload()]):
        joblib.dump(order, tmp_path / "m", protocol=protocol)
        seen = inspected((tmp_path / "m").read_bytes(), tmp_path, "model.pt")
        assert blocked(seen) == {"code-execution"}
        assert "system" in seen.findings[0].message


@pytest.mark.parametrize(
    ("how", "kind"),
    [("zlib", "zlib"), ("gzip", "gzip"), ("bz2", "bz2"), ("xz", "xz"), ("lzma", "xz")],
)
def test_packed_joblib_is_told_as_packed(how: str, kind: str, tmp_path: Path) -> None:
    joblib.dump([np.zeros(50), Payload()], tmp_path / "m", compress=(how, 3))
    seen = inspected((tmp_path / "m").read_bytes(), tmp_path, "model.joblib")
    assert seen.artifact.kind == kind
    assert "joblib" in seen.unreadable
    assert "Unpack" in seen.hint


def test_a_real_script_is_told_as_torchscript(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 2)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch itself wants it no more
        torch.jit.save(torch.jit.trace(network, torch.ones(1, 2)), tmp_path / "model.pt")
    seen = inspected((tmp_path / "model.pt").read_bytes(), tmp_path)
    assert (seen.artifact.kind, seen.findings) == ("torchscript", ())
    assert "--card" in seen.hint


def test_a_real_exported_program_is_undecided_with_the_remedy(tmp_path: Path) -> None:
    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    torch.export.save(torch.export.export(Net(), (torch.ones(2),)), tmp_path / "m.pt2")
    seen = inspect(tmp_path / "m.pt2")
    assert seen.artifact.kind == "pt2"
    assert "--card" in seen.hint


def test_a_whole_network_in_a_plain_pickle_is_undecided_and_names_its_class(tmp_path: Path) -> None:
    seen = inspected(pickle.dumps(torch.nn.Sequential(torch.nn.ReLU())), tmp_path)
    assert not blocked(seen)
    assert "whole network" in seen.unreadable
    assert "torch.nn" in seen.unreadable
