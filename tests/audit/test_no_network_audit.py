"""An audit of a folder registry wants no network, whatever lies in it."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from candidates import gatekeeper
from no_network import alone, skip_unless_possible
from registries import LFS, configure, hostile, put, rows


def test_an_audit_of_a_folder_wants_no_network(tmp_path: Path) -> None:
    skip_unless_possible()
    weights = io.BytesIO()
    torch.save({"w": torch.ones(3, 3)}, weights)
    models = tmp_path / "models"
    put(models, "evil", "1", hostile())
    put(models, "calls", "1", b"csocket\ncreate_connection\n((S'192.0.2.1'\nI9\ntR.")
    put(models, "pointer", "1", LFS)
    put(models, "unknown", "1", weights.getvalue())
    configure(tmp_path, "workers: 2")
    count = tmp_path / "count"
    words = ("audit", "models", "--config", "audit.yaml")
    done = gatekeeper(*words, cwd=tmp_path, before=alone(count))
    assert done.returncode == 1, done.stderr
    assert {name: row["decision"] for name, row in rows(tmp_path).items()} == {
        "evil/1": "reject", "calls/1": "reject", "pointer/1": "undecided", "unknown/1": "undecided"
    }  # fmt: skip
    assert count.read_text() == "0"
