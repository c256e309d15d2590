"""A real flow run on Prefect's own ephemeral server, offline."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
import torch
from candidates import gatekeeper, repeatable, save_images, watched_network

from gatekeeper.demo import _CARD
from gatekeeper.model import Images, Model
from gatekeeper.pipeline import STEPS

pytestmark = [pytest.mark.server, pytest.mark.slow]


def test_the_flow_gives_the_same_record(
    tmp_path: Path, backdoored: Model, held_out: Images
) -> None:
    torch.save(backdoored.network.state_dict(), tmp_path / "model.pt")
    (tmp_path / "model.card.yaml").write_text(_CARD, encoding="utf-8")
    data = save_images(held_out, tmp_path / "clean.npz")
    words = ["scan", "model.pt", "--data", str(data), "--policy", "ci", "--format", "json"]
    environment = {**watched_network(tmp_path), "PREFECT_HOME": str(tmp_path / "prefect")}
    plain = gatekeeper(*words, "--out", "plain", cwd=tmp_path)
    flown = gatekeeper(*words, "--out", "flow", "--prefect", cwd=tmp_path, env=environment)
    assert plain.returncode == flown.returncode == 1, flown.stderr
    assert repeatable(json.loads(plain.stdout)) == repeatable(json.loads(flown.stdout))
    assert not list((tmp_path / "prefect").rglob("*.pkl"))
    assert recorded(tmp_path / "prefect/prefect.db") == ("gatekeeper-scan", sorted(STEPS))
    wanted = (tmp_path / "network.log").read_text().splitlines()
    assert wanted  # it does talk to its own server
    assert [line for line in wanted if "127.0.0.1" not in line and "localhost" not in line] == []


def recorded(database: Path) -> tuple[str, list[str]]:
    """Read the flow and the tasks of the run that Prefect kept, and that the verdict is there."""
    with sqlite3.connect(database) as prefect:
        ((flow,),) = prefect.execute("SELECT name FROM flow").fetchall()
        tasks = prefect.execute("SELECT name FROM task_run WHERE state_type = 'COMPLETED'")
        ((artifact,),) = prefect.execute("SELECT data FROM artifact").fetchall()
        names = sorted(name for (name,) in tasks.fetchall())
    prefect.close()
    assert "REJECT" in artifact
    return flow, names
