"""A file or folder that the gate's user may not read is told, and takes nothing else along."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from candidates import gatekeeper

RUNS = b"cos\nsystem\n(S'true'\ntR."
WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


@pytest.fixture(scope="module")
def bound() -> list[str]:
    """Give the words that take from root the right to read everything; none for another user."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None or subprocess.run([*WITHOUT_RIGHTS, "true"]).returncode:
        pytest.skip("root reads everything here: no setpriv, or it may take no rights away")
    return WITHOUT_RIGHTS


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Give a secret file, a hostile one, and folders that cannot be listed."""
    for name in ("secret.pt", "models/model.pt", "models/closed/model.pt", "shut/model.pt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        torch.save({"w": torch.ones(3)}, tmp_path / name)
    (tmp_path / "hostile.pt").write_bytes(RUNS)
    closed = [tmp_path / name for name in ("secret.pt", "models/closed", "shut")]
    for path in closed:
        path.chmod(0)
    yield tmp_path
    for path in closed:
        path.chmod(0o700)  # or pytest cannot remove it


@pytest.mark.parametrize(
    ("closed", "told"),
    [
        ("secret.pt", "Permission denied. Check the path and its permissions."),
        ("shut", "this folder cannot be listed: Permission denied. Nothing below it was checked"),
    ],
)
def test_what_is_closed_gets_a_line_and_the_others_are_looked_at(
    closed: str, told: str, folder: Path, bound: list[str]
) -> None:
    alone = gatekeeper("inspect", closed, cwd=folder, before=bound)
    assert alone.returncode == 3
    assert told in alone.stdout
    both = gatekeeper("inspect", closed, "hostile.pt", cwd=folder, before=bound)
    assert both.returncode == 1
    assert told in both.stdout
    assert "2 inspected: 1 blocked, 1 unreadable, 0 clean" in both.stdout


def test_a_subfolder_that_cannot_be_listed_is_told_as_such(folder: Path, bound: list[str]) -> None:
    done = gatekeeper("inspect", "models", "--format", "json", cwd=folder, before=bound)
    assert done.returncode == 3
    clean, closed = json.loads(done.stdout)["files"]
    assert (clean["path"], clean["state"]) == ("models/model.pt", "clean")
    assert (closed["path"], closed["state"]) == ("models/closed", "unreadable")
    assert closed["trouble"].startswith("this folder cannot be listed: Permission denied. ")
    assert "let the gate read it" in closed["trouble"]


@pytest.mark.parametrize(
    "command", ["report secret.pt", "report shut", "scan hostile.pt --quiet --card secret.pt"]
)
def test_a_closed_document_is_a_usage_error(command: str, folder: Path, bound: list[str]) -> None:
    done = gatekeeper(*command.split(), cwd=folder, before=bound)
    assert done.returncode == 2
    assert "Permission denied" in done.stderr


def test_a_closed_candidate_is_undecided(folder: Path, bound: list[str]) -> None:
    done = gatekeeper("scan", "secret.pt", "--quiet", cwd=folder, before=bound)
    assert done.returncode == 3
    assert "Permission denied" in done.stdout
