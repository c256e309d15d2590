"""What a file would do is seen without doing it: default deny, whatever the trick."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from forged import inspect
from hypothesis import given, settings
from hypothesis import strategies as st

from gatekeeper.candidate.inspect import Inspection
from gatekeeper.candidate.pickles import suspicions, walk

STILL = settings(derandomize=True, deadline=None, max_examples=150)
# Every stream names something harmless to run; none of them is ever run.
TRICKS = {
    "GLOBAL": b"cos\nsystem\n(S'true'\ntR.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    "INST": b"(S'true'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'true'\no.",
    "NEWOBJ": b"\x80\x02cos\nsystem\n)\x81.",
    "NEWOBJ_EX": b"\x80\x04cos\nsystem\n)}\x92.",
    "EXT1": b"\x80\x02\x82\x01)R.",
    "BUILD": b"\x80\x02ccollections\nOrderedDict\n}U\x01aK\x01sb.",
    "dotted": b"\x80\x04\x8c\x08builtins\x8c\x0fos.system.__doc\x93.",
    "memo": b"\x80\x04\x8c\x02os\x940\x8c\x06system\x94h\x00h\x01\x93.",
    "computed": b"\x80\x04]\x8c\x06system\x93)R.",
    "broken afterwards": b"cos\nsystem\n(S'true'\ntR" + b"\xff\xff",
    "second pickle": pickle.dumps({"w": 1}) + b"cos\nsystem\n(S'true'\ntR.",
    "unknown module": b"cnobody_knows_me\nf\n)R.",
    "rpc": b"ctorch.distributed.rpc\nrpc_sync\n)R.",
    "collect_env": b"ctorch.utils.collect_env\nrun\n)R.",
    "f2py": b"cnumpy.f2py.crackfortran\ngetlincoef\n)R.",
    "pip": b"cpip\nmain\n)R.",
    "bdb": b"cbdb\nBdb\n)R.",
    "runpy": b"crunpy\n_run_code\n)R.",
}


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def blocked(seen: Inspection) -> list[str]:
    return [f.message for f in seen.findings if f.severity in ("critical", "high")]


@pytest.mark.parametrize("name", TRICKS)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".onnx", ""])
def test_a_payload_is_named_whatever_its_opcode_and_extension(
    name: str, suffix: str, tmp_path: Path
) -> None:
    seen = inspect(written(tmp_path / f"model{suffix}", TRICKS[name]))
    assert blocked(seen), seen


def test_the_import_is_named_with_its_place(tmp_path: Path) -> None:
    (finding,) = inspect(written(tmp_path / "m.pt", TRICKS["GLOBAL"])).findings
    assert "os.system" in finding.message
    assert finding.offset == 0
    assert finding.rule_id == "code-execution"


@pytest.mark.parametrize("member", ["model/data.pkl", "model/data/0", "model/extra.txt"])
def test_a_payload_inside_of_an_archive_is_found(member: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps({"a": 1}, protocol=2))
        if member != "model/data.pkl":
            archive.writestr(member, b"\x80\x02" + TRICKS["GLOBAL"])
    if member == "model/data.pkl":
        with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
            archive.writestr(member, b"\x80\x02" + TRICKS["GLOBAL"])
    seen = inspect(tmp_path / "m.pt")
    assert blocked(seen)
    assert {finding.member for finding in seen.findings} == {member}


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@STILL
@given(content=PLAIN, protocol=st.integers(0, 5))
def test_plain_containers_raise_no_suspicion(content: object, protocol: int) -> None:
    walked = walk(io.BytesIO(pickle.dumps(content, protocol=protocol)))
    allowed = {"_codecs.encode", "builtins.bytes", "__builtin__.bytes"}
    assert {g.name for g in walked.globals} <= allowed
    assert not list(suspicions(walked))
    assert not walked.broken


@STILL
@given(noise=st.binary(max_size=400))
def test_no_bytes_make_the_walk_fail(noise: bytes) -> None:
    walk(io.BytesIO(noise))


@STILL
@given(
    before=PLAIN,
    module=st.from_regex(r"[a-z]{2,12}(\.[a-z]{2,8})?", fullmatch=True),
    name=st.from_regex(r"[a-z_]{2,12}", fullmatch=True),
)
def test_a_foreign_name_is_always_found_where_it_is(before: object, module: str, name: str) -> None:
    head = pickle.dumps(before, protocol=2)[:-1] + b"0"  # STOP becomes POP
    evil = head + f"c{module}\n{name}\n)R.".encode()
    (found,) = list(suspicions(walk(io.BytesIO(evil))))[-1:]
    assert (found.name, found.offset) == (f"{module}.{name}", len(head))


def honest(path: Path) -> Path:
    chance = torch.Generator().manual_seed(0)
    torch.save({"net": OrderedDict(w=torch.randn(3, 4, generator=chance))}, path)
    return path


def rewritten(path: Path, change: object) -> Path:
    """Write the members of an honest file anew, changed."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        change(archive, members)  # type: ignore[operator]
    return path


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "..\\x", "C:/x"])
def test_members_that_leave_the_archive_are_blocked(name: str, tmp_path: Path) -> None:
    def add(archive: zipfile.ZipFile, members: dict[str, bytes]) -> None:
        for member, content in {**members, name: b"x"}.items():
            archive.writestr(member, content)

    seen = inspect(rewritten(honest(tmp_path / "m.pt"), add))
    assert any("leaves the archive" in message for message in blocked(seen))
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.pt"]


def test_a_link_in_an_archive_is_blocked(tmp_path: Path) -> None:
    def add(archive: zipfile.ZipFile, members: dict[str, bytes]) -> None:
        for member, content in members.items():
            archive.writestr(member, content)
        link = zipfile.ZipInfo("archive/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")

    assert any(
        "link" in message for message in blocked(inspect(rewritten(honest(tmp_path / "m.pt"), add)))
    )


def cut_in_half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def no_end(content: bytes) -> bytes:
    return content[: content.rfind(b"PK\x05\x06")]


def bytes_before(content: bytes) -> bytes:
    return b"#!/bin/sh\n" + content


def bytes_after(content: bytes) -> bytes:
    return content + b"tail"


def renamed_locally(content: bytes) -> bytes:
    place = content.find(b"data.pkl")
    return content[:place] + b"evil.pkl" + content[place + 8 :]


def encrypted(content: bytes) -> bytes:
    place = content.rfind(b"PK\x01\x02") + 8
    return content[:place] + struct.pack("<H", 1) + content[place + 2 :]


@pytest.mark.parametrize(
    "damage", [cut_in_half, no_end, bytes_before, bytes_after, renamed_locally, encrypted]
)
def test_a_damaged_archive_is_never_clean(damage: object, tmp_path: Path) -> None:
    path = honest(tmp_path / "m.pt")
    seen = inspect(written(path, damage(path.read_bytes())))  # type: ignore[operator]
    assert seen.unreadable or blocked(seen)


def test_a_member_that_stands_twice_is_never_clean(tmp_path: Path) -> None:
    def twice(archive: zipfile.ZipFile, members: dict[str, bytes]) -> None:
        for member, content in members.items():
            archive.writestr(member, content)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr(next(iter(members)), b"other")

    seen = inspect(rewritten(honest(tmp_path / "m.pt"), twice))
    assert seen.unreadable or blocked(seen)


@pytest.mark.parametrize("legacy", [True, False])
def test_benign_files_raise_no_finding(legacy: bool, tmp_path: Path) -> None:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9)
    content = {
        "epoch": 3, "best": 0.9, "classes": ["a", "b"], "optimizer": optimiser.state_dict(),
        "state_dict": OrderedDict(w=torch.ones(2, 2), n=torch.tensor(3)),
    }  # fmt: skip
    torch.save(content, tmp_path / "m.pt", _use_new_zipfile_serialization=not legacy)
    seen = inspect(tmp_path / "m.pt")
    assert seen.findings == ()
    assert seen.unreadable == ""
    assert seen.artifact.kind == ("torch-legacy" if legacy else "torch-zip")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"\x80", "byte"),
        (b"\x1f\x8b\x08" + bytes(20), "gzip"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(20), "7z"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "HDF5"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (bytes(257) + b"ustar" + bytes(300), "tar"),
    ],
)
def test_every_stranger_gets_its_own_reason(content: bytes, word: str, tmp_path: Path) -> None:
    seen = inspect(written(tmp_path / "m.pt", content))
    assert word.lower() in seen.unreadable.lower()
    assert seen.hint


def test_code_formats_are_undecided_with_the_remedy(tmp_path: Path) -> None:
    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    torch.export.save(torch.export.export(Net(), (torch.ones(2),)), tmp_path / "m.pt2")
    seen = inspect(tmp_path / "m.pt2")
    assert seen.artifact.kind == "pt2"
    assert "--card" in seen.hint


def test_a_whole_network_in_a_plain_pickle_is_undecided_and_names_its_class(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(pickle.dumps(torch.nn.Sequential(torch.nn.ReLU())))
    seen = inspect(tmp_path / "m.pt")
    assert blocked(seen) == []
    assert "whole network" in seen.unreadable
    assert "torch.nn" in seen.unreadable
