"""What one reader sees and another does not is never clean."""

from __future__ import annotations

import io
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from candidates import gatekeeper
from forged import HARMLESS, PAYLOAD, blocked, checkpoint, inspected, stack_global, zipped
from torch import nn
from torchvision.models import mobilenet_v2

from gatekeeper.candidate.extraction import extract
from gatekeeper.candidate.pickles import walk
from gatekeeper.candidate.refusals import QuarantineError

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."


def refused(path: Path, kind: str = "torch-zip") -> str:
    """Extract, and give the reason of the refusal."""
    with path.open("rb") as stream, pytest.raises(QuarantineError) as told:
        extract(stream, kind, path.with_suffix(".out"))
    return str(told.value)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("torch.nn.modules.linear", "Linear.__class__"),
        ("torch.nn.parallel.distributed", "os.system"),
        ("torch.nn.parameter", "_ParameterMeta"),
        ("mynets", "Net.__class__"),
    ],
)
def test_the_way_from_a_layer_to_something_else_is_no_layer(
    module: str, name: str, tmp_path: Path
) -> None:
    layer = stack_global("torch.nn.modules.linear", "Linear") + b")\x81"
    program = b"\x80\x04" + layer + b"0" + stack_global(module, name) + b")\x81."
    seen = inspected(checkpoint(program), tmp_path)
    assert [finding.rule_id for finding in seen.findings] == ["code-execution"]
    assert f"{module}.{name}" in seen.findings[0].message


@pytest.mark.parametrize(
    "begin",
    [
        b"V" + b"x" * (2 << 20) + b"\n0",
        b"N" * 200_001,
        b"cnumpy\ndtype\n0" * 10_001,
    ],
    ids=["line", "stack", "imports"],
)
def test_a_bound_that_is_met_is_told(begin: bytes, tmp_path: Path) -> None:
    """Another reader has no such bound, and goes on to what follows."""
    program = b"\x80\x02" + begin + PAYLOAD
    walked = walk(io.BytesIO(program))
    assert walked.too_long or any(found.name == "os.system" for found in walked.globals)
    honest = zipped({"data.pkl": HARMLESS, "data/0": program, "version": b"3\n"})
    seen = inspected(honest, tmp_path)
    assert "longer than" in seen.unreadable or seen.findings
    legacy = inspected(MAGIC + HARMLESS + program, tmp_path)
    assert "longer than" in legacy.unreadable or legacy.findings


def test_a_break_in_one_of_the_pickles_of_a_legacy_file_is_told(tmp_path: Path) -> None:
    seen = inspected(MAGIC + HARMLESS + b"\x80\x02(" + b"\xff" * 50, tmp_path)
    assert seen.unreadable


@pytest.mark.parametrize(
    "names", [("a/data.pkl", "a/b/data.pkl"), ("a/b/data.pkl", "a/data.pkl")], ids=str
)
def test_two_programs_in_one_archive_are_told(names: tuple[str, str], tmp_path: Path) -> None:
    seen = inspected(zipped(dict.fromkeys(names, HARMLESS), prefix=""), tmp_path)
    assert "more than one data.pkl" in seen.unreadable


def test_large_and_small_letters_are_the_same_name(tmp_path: Path) -> None:
    members = {"a/data.pkl": HARMLESS, "a/data/0": b"1234", "a/DATA/0": b"5678"}
    assert "stands there 2 times" in inspected(zipped(members, prefix=""), tmp_path).unreadable


def moved(archive: bytes) -> bytes:
    """Let the end record name another place for the directory."""
    end = archive.rindex(b"PK\x05\x06")
    (offset,) = struct.unpack_from("<I", archive, end + 16)
    return archive[: end + 16] + struct.pack("<I", offset - 1) + archive[end + 20 :]


def commented(archive: bytes) -> bytes:
    """Add a comment, in which a second directory may stand."""
    return archive[:-2] + struct.pack("<H", 6) + b"second"


@pytest.mark.parametrize(
    ("lie", "told"),
    [(moved, "the archive is not what torch writes"), (commented, "a comment of 6 bytes")],
)
def test_a_directory_that_others_look_for_elsewhere_is_told(
    lie: Any, told: str, tmp_path: Path
) -> None:
    assert told in inspected(lie(checkpoint(HARMLESS)), tmp_path).unreadable


def test_large_archives_with_the_longer_end_are_as_good(tmp_path: Path) -> None:
    """Torch writes the longer end record for large files; here it is asked for by hand."""
    torch.save({"w": torch.ones(3)}, tmp_path / "m.pt")
    content = (tmp_path / "m.pt").read_bytes()
    assert inspected(content, tmp_path).unreadable == ""
    end = content.rindex(b"PK\x05\x06")
    if b"PK\x06\x07" in content:
        return
    count, length, offset = struct.unpack_from("<HII", content, end + 10)
    longer = struct.pack(
        "<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, length, offset
    )
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
    whole = content[:end] + longer + locator + content[end:]
    assert inspected(whole, tmp_path).unreadable == ""
    astray = content[:end] + longer + struct.pack("<4sIQI", b"PK\x06\x07", 0, 8, 1) + content[end:]
    assert "not where its end says" in inspected(astray, tmp_path).unreadable


class Rebuilt:
    """Pickles as a call of one of torch's own constructors."""

    def __init__(self, make: Any, *words: Any) -> None:
        self.made = make, words

    def __reduce__(self) -> Any:
        return self.made


def test_what_changes_a_tensor_while_it_is_read_is_refused(tmp_path: Path) -> None:
    numbers, others = torch.ones(3), torch.zeros(3)
    state = Rebuilt(
        torch._utils._rebuild_parameter_with_state, numbers, True, OrderedDict(), {"data": others}
    )
    torch.save({"w": state}, tmp_path / "state.pt")
    assert "replaces its 'data'" in refused(tmp_path / "state.pt")
    torch.save({"w": torch._neg_view(numbers)}, tmp_path / "neg.pt")
    assert "negated" in refused(tmp_path / "neg.pt")


def test_a_legacy_file_of_the_other_byte_order_is_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3)}, tmp_path / "m.pt", _use_new_zipfile_serialization=False)
    content = (tmp_path / "m.pt").read_bytes()
    place = content.index(b"\x88", content.index(b"little_endian"))
    (tmp_path / "m.pt").write_bytes(content[:place] + b"\x89" + content[place + 1 :])
    assert "big-endian" in refused(tmp_path / "m.pt", "torch-legacy")


_FETCH = b"ctorchvision.models._api\nload_state_dict_from_url\n"
_KEPT = {
    "by name": b"(X\6\0\0\0module" + _FETCH + b"X\0\0\0\0X\0\0\0\0tQ",
    "by bytes": b"(C\6module" + _FETCH + b"tQ",
    "kept twice": b"(X\6\0\0\0module" + b"(X\6\0\0\0module" + _FETCH + b"tQtQ",
    "in a long tuple": b"(X\6\0\0\0module" + _FETCH + b"N" * 80 + b"tQ",
}


@pytest.mark.parametrize("kept", _KEPT.values(), ids=list(_KEPT))
@pytest.mark.parametrize("call", [b"(X\x09\0\0\0file:///xtR.", b"q\1(h\1X\1\0\0\0xo."])
def test_what_a_legacy_file_keeps_and_calls_is_told(
    kept: bytes, call: bytes, tmp_path: Path
) -> None:
    """Torch gives back whatever is kept beside a source; the next opcode may call it."""
    program = MAGIC + HARMLESS + b"\x80\x02" + kept + call
    assert blocked(inspected(program, tmp_path)) == {"code-execution"}


def test_whole_networks_of_legacy_files_stay_without_finding(tmp_path: Path) -> None:
    torch.save(mobilenet_v2(num_classes=2), tmp_path / "m.pt", _use_new_zipfile_serialization=False)
    assert inspected((tmp_path / "m.pt").read_bytes(), tmp_path).findings == ()


def test_a_setting_that_hides_a_tensor_is_refused(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(3, 2))
    network[0].__dict__["weight"] = None
    torch.save(network, tmp_path / "m.pt")
    assert "two things called 'weight'" in refused(tmp_path / "m.pt")


def test_an_array_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    array = b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + b"\x80\x02" + PAYLOAD
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("m/data.pkl", HARMLESS)
        archive.writestr("m/weights", array)
    seen = inspected(out.getvalue(), tmp_path)
    assert any("os.system" in finding.message for finding in seen.findings)


def test_what_is_ordinary_beside_models_is_passed_over(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3)}, tmp_path / "model.pt")
    (tmp_path / "__init__.py").write_bytes(b"")
    (tmp_path / "page.html").write_bytes(b"<!DOCTYPE html><html></html>")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(32))
    done = gatekeeper("inspect", ".", cwd=tmp_path)
    assert done.returncode == 0
    assert "3 other files are no models" in done.stdout
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "checkpoint").write_bytes(b"\x80\x02V" + b"x" * (2 << 20) + b"\n0" + PAYLOAD)
    done = gatekeeper("inspect", ".", cwd=tmp_path)
    assert done.returncode in (1, 3)
    assert "empty.pt" in done.stdout
    assert "checkpoint" in done.stdout
