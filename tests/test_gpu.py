"""The whole scan on CUDA, where there is a GPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from candidates import gatekeeper, save_candidate, save_images

from gatekeeper.export import predictions
from gatekeeper.margins import maximum_margins
from gatekeeper.model import Images, Model
from gatekeeper.purification import Restoration
from gatekeeper.purification.memory import Memory
from gatekeeper.redteam import BadNets
from gatekeeper.views import known_views, rightness

pytestmark = [pytest.mark.gpu, pytest.mark.slow]


def test_a_backdoored_candidate_ends_hardened_on_the_gpu(
    tmp_path: Path, backdoored: Model, held_out: Images, attack: BadNets
) -> None:
    model = save_candidate(backdoored, tmp_path)
    data = save_images(held_out, tmp_path / "clean.npz")
    words = ("scan", model, "--data", data, "--device", "cuda", "--out", "run")
    result = gatekeeper(*words, cwd=tmp_path)
    assert result.returncode == 0, result.stderr + result.stdout
    record = json.loads((tmp_path / "run/record.json").read_text())
    assert record["environment"]["device"].startswith("cuda")
    assert record["verdict"]["decision"] == "hardened"
    assert record["outputs"]["onnx"]["parity"]["top1_agreement"] == 1.0
    answers = predictions(tmp_path / "run/hardened.onnx", attack.triggered(held_out))
    assert (answers == attack.target).mean() <= 0.05


def test_what_purification_stands_on_runs_on_the_gpu(backdoored: Model, held_out: Images) -> None:
    model, images = backdoored.clone(), held_out.to("cuda")
    model.network.to("cuda")
    assert int(maximum_margins(model, seed=0).argmax()) == 0
    views = known_views(model, images)
    assert rightness(model, images, views).shape == (len(images),)
    few = images.select(torch.arange(300, device="cuda"))
    purify = Restoration(epochs=2, restore_epochs=2, memory=Memory())
    purified, _ = purify(model, few, seed=0)
    assert purified.device.type == "cuda"
