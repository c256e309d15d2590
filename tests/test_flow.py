"""A real flow run on Prefect's own ephemeral server, offline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_scan import repeatable, save_images

from gatekeeper.demo import _CARD
from gatekeeper.model import Images, Model

pytestmark = [pytest.mark.server, pytest.mark.slow]


def test_the_flow_gives_the_same_record(
    tmp_path: Path, backdoored: Model, held_out: Images
) -> None:
    torch.save(backdoored.network.state_dict(), tmp_path / "model.pt")
    (tmp_path / "model.card.yaml").write_text(_CARD, encoding="utf-8")
    data = save_images(held_out, tmp_path / "clean.npz")
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect"), "DO_NOT_TRACK": "1"}
    words = ["scan", "model.pt", "--data", str(data), "--policy", "ci", "--format", "json"]
    records = []
    for extra in (["--out", "plain"], ["--out", "flow", "--prefect"]):
        done = subprocess.run(
            [sys.executable, "-m", "gatekeeper", *words, *extra],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            check=False,
        )
        assert done.returncode == 1, done.stderr
        records.append(json.loads(done.stdout))
    assert repeatable(records[0]) == repeatable(records[1])
    assert not list((tmp_path / "prefect").rglob("*.pkl"))
