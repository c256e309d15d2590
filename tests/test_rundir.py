"""A run directory holds whole files only, one run at a time, and knows what is done."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from gatekeeper.errors import RunDirectoryError, UsageError
from gatekeeper.rundir import RunDirectory


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path / "run", resume=False) as room:
        room.write_text("kept.txt", "first")
        with pytest.raises(ZeroDivisionError), room.writing("kept.txt") as partial:
            partial.write_text("torn")
            raise ZeroDivisionError
        assert room.file("kept.txt").read_text() == "first"
        assert not list(room.path.glob("*.partial"))


def test_a_directory_with_files_needs_resume(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path, resume=False) as room:
        room.write_text("a", "a")
    with pytest.raises(UsageError, match="not empty"), RunDirectory.open(tmp_path, resume=False):
        pass
    with RunDirectory.open(tmp_path, resume=True) as room:
        assert room.file("a").read_text() == "a"


def test_a_strangers_folder_is_never_taken_over(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="no run"), RunDirectory.open(tmp_path, resume=True):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_two_runs_do_not_share_a_directory(tmp_path: Path) -> None:
    with (
        RunDirectory.open(tmp_path, resume=False),
        pytest.raises(RunDirectoryError, match="another run"),
        RunDirectory.open(tmp_path, resume=True),
    ):
        pass


def test_what_a_killed_run_left_is_swept(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path, resume=False):
        pass
    (tmp_path / ".hardened.onnx.partial").write_bytes(b"half")
    with RunDirectory.open(tmp_path, resume=True):
        assert not (tmp_path / ".hardened.onnx.partial").exists()


def test_a_step_is_done_only_with_the_same_inputs_and_unharmed_files(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path, resume=False) as room:
        room.write_text("out.txt", "result")
        room.finish("step", key="k", files=["out.txt"], seconds=0.1, notes={})
        assert room.is_done("step", "k")
        assert not room.is_done("step", "other")
        room.file("out.txt").write_text("tampered")
        assert not room.is_done("step", "k")


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path, resume=False) as room:
        with pytest.raises(RunDirectoryError, match="no space"), room.writing("big") as partial:
            partial.write_text("some")
            raise OSError(errno.ENOSPC, "No space left on device")
        assert not list(tmp_path.glob("*big*"))


def test_damaged_state_is_told(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path, resume=False) as room:
        room.file(".state.json").write_text("[1")
        with pytest.raises(RunDirectoryError, match="damaged"):
            room.state()


def test_json_takes_what_a_candidate_may_bring(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path, resume=False) as room:
        room.write_json("odd.json", {"norm": float("nan"), "name": "caf\udce9", "size": (1, 2)})
        assert room.read_json("odd.json") == {"norm": None, "name": "caf\ufffd", "size": [1, 2]}
