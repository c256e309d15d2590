"""A reader that leaves, or a disk that is full, never turns an exit code into REJECT."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from gatekeeper import cli

UNDECIDED = ["scan", "model.pt", "--device", "cpu", "--out"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.save({"strange.weight": torch.ones(3, 3)}, tmp_path / "model.pt")
    return tmp_path / "model.pt"


def code_of(words: list[str], cwd: Path, **streams: Any) -> int:
    command = [sys.executable, "-m", "gatekeeper", *words]
    return subprocess.run(command, cwd=cwd, check=False, **streams).returncode


def closed_pipe() -> int:
    """Give the writing end of a pipe that nobody reads."""
    reads, writes = os.pipe()
    os.close(reads)
    return writes


@pytest.mark.parametrize("stream", ["stdout", "stderr", "both"])
@pytest.mark.parametrize(
    ("words", "code"),
    [([*UNDECIDED, "run"], 3), (["inspect", "model.pt"], 0), (["scan", "gone.pt"], 2)],
)
def test_a_closed_pipe_keeps_the_exit_code(
    words: list[str], code: int, stream: str, model: Path
) -> None:
    pipe = closed_pipe()
    streams: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    streams |= dict.fromkeys(["stdout", "stderr"] if stream == "both" else [stream], pipe)
    assert code_of(words, model.parent, **streams) == code
    os.close(pipe)
    if words[-1] == "run":  # what was to be done is done
        assert (model.parent / "run/record.json").exists()


def test_usage_errors_keep_their_code_too(model: Path) -> None:
    pipe = closed_pipe()
    assert code_of(["scan", "--seed", "-1", "model.pt"], model.parent, stderr=pipe) == 2
    os.close(pipe)


def test_a_full_disk_behind_stdout_is_no_verdict(model: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "gatekeeper", "inspect", "model.pt"],
            stdout=full, stderr=subprocess.PIPE, text=True, cwd=model.parent, check=False,
        )  # fmt: skip
    assert done.returncode == 3
    assert "cannot write the result" in done.stderr
    assert "internal error" not in done.stderr


def test_an_internal_error_without_room_for_its_log_is_still_exit_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def burst(**_: object) -> int:
        message = "burst"
        raise RuntimeError(message)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cli.cli, "main", burst)
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", full)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 3
    shown = capsys.readouterr().err
    assert "internal error (RuntimeError); nothing was passed" in shown
    assert "No log" in shown
