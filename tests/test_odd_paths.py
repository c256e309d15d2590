"""Paths that cannot be read, written or looked at: one clear line and the right exit code."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from candidates import gatekeeper

from gatekeeper import planning
from gatekeeper.candidate.inspect import inspect
from gatekeeper.candidate.sources import private_copy
from gatekeeper.demo import demonstrate
from gatekeeper.errors import CandidateError, RunDirectoryError, UsageError
from gatekeeper.job import Job
from gatekeeper.pipeline import check, run

MEMORY = Path("/proc/self/mem")  # a regular file whose first byte cannot be read
LONG = "x" * 300


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.save({"w": torch.ones(1000)}, tmp_path / "model.pt")
    return tmp_path / "model.pt"


def forbid(monkeypatch: pytest.MonkeyPatch, forbidden: Path) -> None:
    """As root may open everything, let the two ways to open `forbidden` refuse."""

    def guarded(really: Callable[..., Any]) -> Callable[..., Any]:
        def opens(path: object, *words: Any, **more: Any) -> Any:
            if str(path) == str(forbidden):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return really(path, *words, **more)

        return opens

    monkeypatch.setattr(os, "open", guarded(os.open))
    monkeypatch.setattr(io, "open", guarded(io.open))


def test_a_model_that_may_not_be_read_is_undecided(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid(monkeypatch, model)
    monkeypatch.chdir(tmp_path)
    job = planning.plan(model)
    assert job.out.endswith("model-unread")
    record = run(job)
    assert record.verdict.decision == "undecided"
    assert "Permission denied" in record.verdict.reasons[0]


def test_a_file_that_opens_and_cannot_be_read_is_undecided(tmp_path: Path) -> None:
    record = run(Job(model=str(MEMORY), out=str(tmp_path / "run"), device="cpu"))
    assert record.verdict.decision == "undecided"
    assert "cannot read /proc/self/mem" in record.verdict.reasons[0]
    assert planning.plan(MEMORY).out.endswith("mem-unread")
    with pytest.raises(CandidateError, match="cannot read"):
        inspect(MEMORY)


def test_inspect_tells_of_it_and_goes_on(model: Path, tmp_path: Path) -> None:
    result = gatekeeper("inspect", MEMORY, model, cwd=tmp_path)
    assert result.returncode == 3
    assert "unreadable /proc/self/mem: cannot read it: " in result.stdout
    *_, clean, summed = result.stdout.splitlines()
    assert clean.startswith("clean")
    assert summed == "2 inspected: 0 blocked, 1 unreadable, 1 clean"


def test_no_room_for_the_private_copy_is_the_machines_fault(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Path("/dev/full").open("wb")  # noqa: SIM115 - closed by the code under test
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full)
    with pytest.raises(RunDirectoryError, match="No space left"):
        private_copy(model, tmp_path)
    assert full.closed


@pytest.mark.parametrize("field", ["data", "verify_data", "card", "policy"])
def test_a_name_too_long_is_a_usage_error(field: str, model: Path, tmp_path: Path) -> None:
    given = {"data": str(tmp_path)} | {field: LONG}
    with pytest.raises(UsageError) as refused:
        check(Job(model=str(model), out=str(tmp_path / "run"), device="cpu", **given))  # type: ignore[arg-type]
    assert refused.value.exit_code == 2
    assert LONG[:40] in str(refused.value)


def test_the_demo_needs_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="not an empty folder"):
        demonstrate(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    for place in (tmp_path / "file/below", tmp_path / LONG, Path("/proc/demo")):
        with pytest.raises(RunDirectoryError, match="cannot write in"):
            demonstrate(place)
