"""`gatekeeper inspect`: files and folders, at once, whatever stands there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from forged import PAYLOAD
from safetensors.torch import save_file

from gatekeeper.candidate.inspect import inspect
from gatekeeper.candidate.sources import private_copy
from gatekeeper.errors import CandidateError
from gatekeeper.inspection import inspect_all
from gatekeeper.inspection_formats import tell_inspections


def fifo(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def loop(path: Path) -> None:
    other = path.with_name("other")
    path.symlink_to(other)
    other.symlink_to(path)


def through_a_file(path: Path) -> None:
    (path.parent / "file").write_text("")
    path.symlink_to("file/beyond")


STRANGE = [fifo, folder, device, dangling, loop, through_a_file]
NAMES = [make.__name__ for make in STRANGE]


@pytest.mark.parametrize("make", STRANGE, ids=NAMES)
def test_what_is_no_file_is_refused(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    make(path)
    for opened in (inspect, lambda path: private_copy(path, tmp_path)):
        with pytest.raises(CandidateError, match=r"model\.pt") as refused:
            opened(path)
        assert refused.value.hint
    assert inspect_all([path]).exit_code == 3


@pytest.mark.parametrize("make", STRANGE, ids=NAMES)
def test_the_command_answers_3(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "model.pt")
    done = subprocess.run(
        [sys.executable, "-m", "gatekeeper", "inspect", str(tmp_path / "model.pt")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_names_that_no_file_system_takes_are_refused(tmp_path: Path) -> None:
    for name in ("x" * 5000, "x" * 300):
        assert inspect_all([tmp_path / name]).exit_code == 3


def test_a_folder_is_walked_and_nothing_in_it_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "deep/er").mkdir(parents=True)
    torch.save({"w": torch.ones(2)}, tmp_path / "a.pt")
    (tmp_path / "deep/er/.hidden").write_bytes(PAYLOAD)
    os.mkfifo(tmp_path / "deep/pipe")
    (tmp_path / "deep/round").symlink_to(tmp_path)
    (tmp_path / "link.pt").symlink_to("a.pt")
    inspected = inspect_all([tmp_path])
    states = {Path(file.path).name: file.state for file in inspected.files}
    assert states == {
        "a.pt": "clean",
        ".hidden": "blocked",
        "pipe": "unreadable",
        "round": "unreadable",
        "link.pt": "clean",
    }
    assert inspected.exit_code == 1


def test_a_folder_that_cannot_be_listed_is_told(tmp_path: Path) -> None:
    """Its path is longer than the kernel takes, though each of its folders is not."""
    torch.save({"w": torch.ones(2)}, tmp_path / "a.pt")
    place = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("x" * 250, dir_fd=place)
        below = os.open("x" * 250, os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(place)
    inspected = inspect_all([tmp_path])
    assert [file.state for file in inspected.files] == ["clean", "unreadable"]
    assert inspected.exit_code == 3


@pytest.mark.parametrize(
    ("names", "code"),
    [(["clean"], 0), (["clean", "odd"], 3), (["odd", "bad"], 1), (["clean", "bad"], 1), ([], 3)],
)
def test_blocked_outranks_unreadable_outranks_clean(
    names: list[str], code: int, tmp_path: Path
) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "clean")
    (tmp_path / "odd").write_bytes(b"")
    (tmp_path / "bad").write_bytes(PAYLOAD)
    assert inspect_all([tmp_path / name for name in names]).exit_code == code


def test_an_empty_folder_was_not_checked(tmp_path: Path) -> None:
    inspected = inspect_all([tmp_path])
    assert inspected.exit_code == 3
    assert "nothing was checked" in tell_inspections(inspected, "text")


def test_the_telling_names_kind_digest_finding_and_remedy(tmp_path: Path) -> None:
    (tmp_path / "bad.pt").write_bytes(PAYLOAD)
    inspected = inspect_all([tmp_path / "bad.pt"])
    told = tell_inspections(inspected, "text")
    for word in ("blocked", "pickle", "23 bytes", "critical: code-execution", "imports os.system"):
        assert word in told
    (entry,) = json.loads(tell_inspections(inspected, "json"))["files"]
    assert entry["state"] == "blocked"
    assert entry["findings"][0]["offset"] == 0
    assert len(entry["artifact"]["sha256"]) == 64


def test_names_are_told_without_their_control_characters(tmp_path: Path) -> None:
    odd = tmp_path / "a\x1b[31m\n::error::b.pt"
    odd.write_bytes(b"\x80\x02c\x1b[2J\nx\n.")
    inspected = inspect_all([odd])
    told = tell_inspections(inspected, "text")
    assert "\x1b" not in told
    assert not any(line.startswith("::error::") for line in told.splitlines())
    assert json.loads(tell_inspections(inspected, "json"))["files"][0]["path"] == str(odd)


def test_inspecting_imports_no_torch(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "a.pt")
    code = (
        "import sys; from pathlib import Path; from gatekeeper.inspection import inspect_all;"
        "assert inspect_all([Path(sys.argv[1])]).exit_code == 0; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.pt")],
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"torch", "torchvision", "numpy", "onnx", "onnxruntime", "prefect", "pydantic"}
    assert not heavy & set(done.stdout.split())


def test_the_private_copy_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"before")
    with private_copy(tmp_path / "model.pt", tmp_path) as copy:
        (tmp_path / "model.pt").write_bytes(b"after!")
        assert copy.read() == b"before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.pt"]


def test_a_link_to_a_file_of_the_system_is_no_model() -> None:
    with tempfile.TemporaryDirectory() as place:
        link = Path(place) / "model.pt"
        link.symlink_to("/etc/passwd")
        assert inspect_all([link]).exit_code == 3


def test_what_is_no_model_in_a_folder_is_counted(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("a model", encoding="utf-8")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    save_file({"w": torch.ones(2)}, tmp_path / "model.safetensors")
    inspected = inspect_all([tmp_path])
    assert [Path(file.path).name for file in inspected.files] == ["model.safetensors"]
    assert inspected.exit_code == 0
    assert "2 other files are no models" in tell_inspections(inspected, "text")
    # Named by itself, or by a model's name, it is looked at and told of.
    assert inspect_all([tmp_path / "README.md"]).exit_code == 3
    (tmp_path / "notes.txt").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert inspect_all([tmp_path]).exit_code == 1
    (tmp_path / "broken.pt").write_bytes(b"cut off")
    assert {Path(file.path).name for file in inspect_all([tmp_path]).files} == {
        "broken.pt",
        "model.safetensors",
        "notes.txt",
    }
