"""A scan that is killed at any step goes on with --resume, and its record is the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from candidates import gatekeeper, repeatable, save_candidate, save_images

from gatekeeper.model import Images, Model
from gatekeeper.pipeline import STEPS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workplace(
    tmp_path_factory: pytest.TempPathFactory, held_out: Images, backdoored: Model
) -> Path:
    folder = tmp_path_factory.mktemp("kill")
    save_images(held_out, folder / "clean.npz")
    save_candidate(backdoored, folder)
    return folder


@pytest.fixture(scope="module")
def whole(workplace: Path) -> object:
    done = gatekeeper("scan", "model.pt", "--data", "clean.npz", "--out", "whole", cwd=workplace)
    assert done.returncode == 0, done.stderr
    return json.loads((workplace / "whole/record.json").read_text())


def kill_at(step: str, out: str, workplace: Path) -> None:
    """Start a scan and kill it, with no chance to tidy up, as soon as it says that it is there."""
    words = ["scan", "model.pt", "--data", "clean.npz", "--out", out]
    with subprocess.Popen(
        [sys.executable, "-m", "gatekeeper", *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        cwd=workplace,
    ) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if line.strip() == step:
                os.kill(running.pid, signal.SIGKILL)
                break
    assert running.returncode == -signal.SIGKILL
    assert not (workplace / out / "hardened.onnx").exists()


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_scan_resumes_to_the_same_record(
    step: str, whole: object, workplace: Path
) -> None:
    kill_at(step, f"killed-at-{step}", workplace)
    done = gatekeeper(
        "scan", "model.pt", "--data", "clean.npz", "--out", f"killed-at-{step}", "--resume",
        cwd=workplace,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads((workplace / f"killed-at-{step}/record.json").read_text())
    assert repeatable(record) == repeatable(whole)
    left = [entry.name for entry in (workplace / f"killed-at-{step}").iterdir()]
    assert not [name for name in left if name.endswith(".partial")]
