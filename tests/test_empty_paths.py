"""An empty path, such as that of an unset shell variable, is never the current folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from candidates import gatekeeper

COMMANDS = [
    "inspect {}", "inspect model.pt {}", "scan {}", "scan model.pt --data {}",
    "scan model.pt --suspects {}", "scan model.pt --card {}", "scan model.pt --out {}",
    "audit {}", "audit registry --config {}", "calibrate --models {}", "report {}",
    "report model.pt --compare {}",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_an_empty_path_is_a_usage_error_and_nothing_is_done(command: str, tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3)}, tmp_path / "model.pt")
    (tmp_path / "registry").mkdir()
    words = ["" if word == "{}" else word for word in command.split()]
    done = gatekeeper(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "it is empty" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt", "registry"]
