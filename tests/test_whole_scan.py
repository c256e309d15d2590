"""A network that was pickled whole goes the whole path, also when a killed run goes on."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from candidates import plain_policy, save_images
from torch import nn

from gatekeeper.candidate.networks import BUILT_IN
from gatekeeper.handwriting import CLASSES, SPEC
from gatekeeper.job import Job
from gatekeeper.model import Images, Model
from gatekeeper.pipeline import run
from gatekeeper.training import Recipe, fine_tune

INPUT = f"input: {{ size: {list(SPEC.size)}, mean: {list(SPEC.mean)}, std: {list(SPEC.std)} }}\n"


@pytest.fixture(scope="module")
def sequential(train_digits: Images) -> nn.Module:
    """LeNet on handwriting: nothing but layers of torch.nn in a Sequential."""
    torch.manual_seed(0)
    network = BUILT_IN["gatekeeper:lenet"](*SPEC.size, len(CLASSES))
    fresh = Model(network=network, input=SPEC, classes=CLASSES, architecture="gatekeeper:lenet")
    recipe = Recipe(epochs=12, lr=0.05, batch=64, schedule="cosine")
    return fine_tune(fresh, train_digits, recipe, seed=1)[0].network


def test_a_sequential_is_measured_purified_and_exported(
    sequential: nn.Module, held_out: Images, tmp_path: Path
) -> None:
    torch.save(sequential, tmp_path / "model.pt")
    (tmp_path / "model.card.yaml").write_text(INPUT)
    save_images(held_out, tmp_path / "clean.npz")
    policy = plain_policy(tmp_path, "default")
    policy.write_text(policy.read_text().replace("method: auto", "method: ft"))
    job = Job(
        model=str(tmp_path / "model.pt"), data=str(tmp_path / "clean.npz"),
        out=str(tmp_path / "run"), policy=str(policy),
    )  # fmt: skip
    record = run(job)
    assert (record.candidate.architecture, record.candidate.num_classes) == (
        "torch.nn.Sequential", 10,
    )  # fmt: skip
    pixels, labels = held_out.pixels, held_out.labels
    mean, std = torch.tensor(SPEC.mean), torch.tensor(SPEC.std)
    with torch.no_grad():
        own = sequential.eval()((pixels.float() / 255 - mean) / std).argmax(dim=1)
    assert record.verification is not None
    measured = record.verification.before["clean_accuracy"].value
    assert measured == pytest.approx(float((own == labels).float().mean()), abs=0.05)
    assert "clean_accuracy" in record.verification.after  # the purified one was rebuilt as well
    # A run whose structure was lost or rewritten reads it from the candidate again.
    (tmp_path / "run/structure.json").write_text("[]")
    assert run(job, resume=True).candidate == record.candidate
    assert (tmp_path / "run/structure.json").read_text() != "[]"


def test_an_npz_of_unknown_arrays_asks_for_a_card(tmp_path: Path) -> None:
    np.savez(tmp_path / "model.npz", images=np.zeros((2, 3)), labels=np.zeros(2))
    record = run(
        Job(model=str(tmp_path / "model.npz"), out=str(tmp_path / "run"), policy="default")
    )
    assert record.candidate.kind == "npz"
    assert record.verdict.decision == "undecided"
    assert "--card" in record.verdict.reasons[0]
    assert not os.path.lexists(tmp_path / "run/hardened.onnx")
