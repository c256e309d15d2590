"""A real flow run on Prefect's own ephemeral server, offline."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from candidates import gatekeeper, repeatable, save_images, watched_network

from gatekeeper.demo import CARD
from gatekeeper.model import Images, Model
from gatekeeper.pipeline import STEPS

pytestmark = [pytest.mark.server, pytest.mark.slow]


def test_the_flow_gives_the_same_record(
    tmp_path: Path, backdoored: Model, held_out: Images
) -> None:
    torch.save(backdoored.network.state_dict(), tmp_path / "model.pt")
    (tmp_path / "model.card.yaml").write_text(CARD, encoding="utf-8")
    data = save_images(held_out, tmp_path / "clean.npz")
    words = ["scan", "model.pt", "--data", str(data), "--policy", "ci", "--format", "json"]
    environment = {**watched_network(tmp_path), "PREFECT_HOME": str(tmp_path / "prefect")}
    plain = gatekeeper(*words, "--out", "plain", cwd=tmp_path)
    flown = gatekeeper(
        *words, "--out", "flow", "--prefect", "--quiet", cwd=tmp_path, env=environment
    )
    assert plain.returncode == flown.returncode == 1, flown.stderr
    assert flown.stderr == ""
    assert repeatable(json.loads(plain.stdout)) == repeatable(json.loads(flown.stdout))
    assert not list((tmp_path / "prefect").rglob("*.pkl"))
    assert recorded(tmp_path / "prefect/prefect.db") == ("gatekeeper-scan", sorted(STEPS))
    wanted = (tmp_path / "network.log").read_text().splitlines()
    assert wanted  # it does talk to its own server
    assert [line for line in wanted if "127.0.0.1" not in line and "localhost" not in line] == []


# As on CUDA before the first step, but for the card: nobody made the limit, then somebody set it.
LIMIT = """
from prefect import get_client
from prefect.concurrency.sync import concurrency
from gatekeeper.flow_loader import load_flow
gate = vars(load_flow("gate", quiet=True))
with get_client(sync_client=True) as client:
    for limit in (1, 4):
        gate["create_gpu_limit"]()
        with concurrency(gate["GPU_LIMIT"], occupy=1, strict=True, timeout_seconds=20):
            print(client.read_global_concurrency_limit_by_name("gpu").limit)
        client.upsert_global_concurrency_limit_by_name("gpu", 4)
"""


def test_the_limit_of_the_gpu_is_made_where_it_is_missing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMIT],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "4"]


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
