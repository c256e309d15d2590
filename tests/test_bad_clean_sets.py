"""Clean images that are too few, mislabelled or incomplete: the gate says so and harms nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from candidates import CARD, plain_policy, quick_policy, save_candidate, save_images
from conftest import ROOT, fresh_network
from torch import nn

from gatekeeper.candidate.networks import BUILT_IN
from gatekeeper.handwriting import CLASSES, SPEC
from gatekeeper.job import Job
from gatekeeper.model import Images, Model
from gatekeeper.pipeline import run
from gatekeeper.purification.auto import Auto
from gatekeeper.purification.trial import Trial
from gatekeeper.records import GateRecord
from gatekeeper.training import Recipe, accuracy, fine_tune


def scanned(model: Model, images: Images, folder: Path, **more: str) -> GateRecord:
    candidate = save_candidate(model, folder / "candidate")
    data = save_images(images, folder / "clean.npz")
    more.setdefault("policy", str(plain_policy(folder, "default")))
    return run(Job(model=str(candidate), data=str(data), out=str(folder / "run"), **more))


def test_shuffled_labels_are_undecided_and_the_candidate_stays(
    backdoored: Model, held_out: Images, tmp_path: Path
) -> None:
    order = torch.randperm(len(held_out), generator=torch.Generator().manual_seed(0))
    record = scanned(backdoored, replace(held_out, labels=held_out.labels[order]), tmp_path)
    assert record.verdict.decision == "undecided"
    assert "hardly more than by chance" in record.verdict.reasons[0]
    assert record.purification is None
    assert record.outputs.onnx is None
    assert not (tmp_path / "run/purified.safetensors").exists()


def test_a_missing_class_is_named(backdoored: Model, held_out: Images, tmp_path: Path) -> None:
    lacking = held_out.select(held_out.labels != 9)
    record = scanned(backdoored, lacking, tmp_path, method="ft")
    assert "9" in record.verdict.reasons[-1]
    assert record.verdict.reasons[-1].startswith("Not compared, fewer than 20 held-out images")


@pytest.mark.slow
@pytest.mark.parametrize("each", [1, 2, 6])
def test_a_handful_of_images_ends_undecided(
    backdoored: Model, held_out: Images, tmp_path: Path, each: int
) -> None:
    few = torch.cat([(held_out.labels == k).nonzero().flatten()[: each + 1] for k in range(10)])
    record = scanned(backdoored, held_out.select(few), tmp_path)
    assert record.verdict.decision in ("undecided", "reject")
    assert record.outputs.onnx is None
    assert record.data is not None
    assert record.data.verify < 500


def test_one_image_of_each_class_leaves_none_to_purify_on(
    backdoored: Model, held_out: Images, tmp_path: Path
) -> None:
    one = torch.stack([(held_out.labels == k).nonzero()[0, 0] for k in range(10)])
    record = scanned(backdoored, held_out.select(one), tmp_path)
    assert record.verdict.decision in ("undecided", "reject")
    assert record.purification is None
    assert any("--verify-data" in told.reason for told in record.skipped)


def test_a_network_without_convolutions_is_served(held_out: Images, train_digits: Images) -> None:
    layers = nn.Sequential(nn.Flatten(), nn.Linear(1024, 64), nn.ReLU(), nn.Linear(64, 10))
    fresh = Model(network=layers, input=SPEC, classes=CLASSES, architecture="own")
    known, _ = fine_tune(fresh, train_digits, Recipe(epochs=10, lr=0.05, batch=64), seed=0)
    keep = Trial(acceptable=True, accuracy_drop=0.0, message="kept")
    purified, told = Auto()(known, held_out, seed=0, trial=lambda _: keep)
    assert purified is not None
    assert accuracy(purified, held_out) > accuracy(known, held_out) - 0.02
    assert told.attempts[0].method == "ft-sam"
    masked = next(ladder for ladder in Auto().ladders(known, held_out, 0) if ladder.method == "awm")
    network, _ = masked.rungs[-1](known, held_out.select(torch.arange(64)), seed=0)
    assert network.network[1].weight.shape == (64, 1024)  # type: ignore[index,union-attr]


def test_a_constant_network_is_called_that(held_out: Images, tmp_path: Path) -> None:
    network = BUILT_IN["gatekeeper:mlp"](1, 32, 32, 10)
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
    model = replace(fresh_network(), network=network)
    card = CARD.replace("gatekeeper:small-resnet", "gatekeeper:mlp")
    candidate = save_candidate(model, tmp_path / "candidate", card=card)
    data = save_images(held_out, tmp_path / "clean.npz")
    policy = str(quick_policy(tmp_path, "default"))
    job = Job(model=str(candidate), data=str(data), out=str(tmp_path / "run"), policy=policy)
    record = run(job)
    assert record.verdict.decision == "undecided"
    assert record.assessment is not None
    assert record.assessment.outcome == "inconclusive"
    told = record.assessment.why_inconclusive[0]
    assert told == "The network gives every image the same answer"


def test_shipped_policies_still_read(tmp_path: Path) -> None:
    from gatekeeper.policy import read_policy

    for path in (ROOT / "policies").glob("*.yaml"):
        assert not read_policy(str(path)).verify.sequela


def test_a_candidate_without_a_card_is_told_that_its_input_was_assumed(
    backdoored: Model, held_out: Images, tmp_path: Path
) -> None:
    images = save_images(replace(held_out, pixels=255 - held_out.pixels), tmp_path / "clean.npz")
    model = save_candidate(backdoored, tmp_path / "candidate")
    model.with_name("model.card.yaml").unlink()
    policy = str(plain_policy(tmp_path, "ci"))
    record = run(Job(model=str(model), data=str(images), out=str(tmp_path / "run"), policy=policy))
    assert record.verdict.decision == "undecided"
    assert "No card names its input" in record.verdict.reasons[0]
    assert "--card" in record.verdict.reasons[0]
