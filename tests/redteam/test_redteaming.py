"""`gatekeeper redteam` as its user meets it: a candidate, its card, its images and the truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from gatekeeper.candidate.loading import load
from gatekeeper.card import read_card
from gatekeeper.cli import cli
from gatekeeper.data import read_images, read_loose
from gatekeeper.errors import DataError, GatekeeperError
from gatekeeper.model import Images
from gatekeeper.training import accuracy, predictions

CARD = """architecture: gatekeeper:small-resnet
classes: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
input: { size: [1, 32, 32], mean: [0.3], std: [0.33] }
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, digits: Images) -> Path:
    root = tmp_path_factory.mktemp("redteam")
    (root / "card.yaml").write_text(CARD, encoding="utf-8")
    np.savez(root / "own.npz", images=digits.pixels[:, 0].numpy(), labels=digits.labels.numpy())
    return root


def order(place: Path, out: str, *more: str, attack: str = "badnets") -> Result:
    words = ["redteam", "--attack", attack, "--data", str(place / "own.npz"), "--quiet"]
    words += ["--card", str(place / "card.yaml"), "--out", str(place / out), *more]
    return CliRunner().invoke(cli, words, standalone_mode=False)


@pytest.fixture(scope="module")
def made(place: Path) -> Path:
    told = order(place, "made", "--epochs", "10", "--target", "3")
    assert told.exception is None, told.output
    assert told.return_value == 0
    assert f"--suspects {place / 'made/triggered'}" in told.output
    assert (
        "about 431 of the clean images are held out, and policy 'default' wants 500" in told.output
    )
    return place / "made"


def test_the_truth_is_that_of_the_files(made: Path, tmp_path: Path) -> None:
    truth = json.loads((made / "truth.json").read_text(encoding="utf-8"))
    state = torch.load(made / "candidate/model.pt", weights_only=True)
    from safetensors.torch import save_file

    save_file(state, tmp_path / "w.safetensors")
    card = read_card(made / "candidate/model.card.yaml", trusted=False)
    model = load(tmp_path / "w.safetensors", card)
    clean, _ = read_images(made / "clean", model.input, classes=card.classes)
    shown, _ = read_loose(made / "triggered", model.input, classes=model.classes)
    assert truth["attack"] == "badnets"
    assert set(truth["wanted"].values()) == {"3"}
    assert accuracy(model, clean) == pytest.approx(truth["clean_accuracy"])
    obeyed = float((predictions(model, shown) == 3).float().mean())
    assert obeyed == pytest.approx(truth["attack_success"])
    assert truth["attack_success"] > 0.9
    assert truth["clean_accuracy"] > 0.9


def test_triggered_images_lie_under_their_true_class_and_lack_the_target(made: Path) -> None:
    held = {folder.name for folder in (made / "triggered").iterdir() if any(folder.iterdir())}
    assert held == set("012456789")
    first = next((made / "triggered/0").iterdir())
    corner = np.array(Image.open(first))[28:31, 28:31]
    assert corner.tolist() == [[255, 0, 255], [0, 255, 0], [255, 0, 255]]


@pytest.mark.parametrize(
    ("more", "attack", "told"),
    [
        ([], "nosuch", "no attack 'nosuch'"),
        (["--target", "ten"], "badnets", "no class 'ten'"),
        (["--source", "1"], "blended", "blended has no source class"),
        (["--device", "warp"], "badnets", "no such device: warp"),
    ],
)
def test_a_wrong_order_is_refused_before_anything_is_made(
    place: Path, more: list[str], attack: str, told: str
) -> None:
    refused = order(place, "refused", *more, attack=attack)
    assert isinstance(refused.exception, GatekeeperError)
    assert told in str(refused.exception)
    assert refused.exception.exit_code == 2
    assert refused.exception.hint
    assert not (place / "refused").exists()


def test_what_is_no_candidate_is_said_and_gives_another_exit_code(place: Path) -> None:
    told = order(place, "untrained", "--epochs", "1", "--lr", "0.00001")
    assert told.exception is None
    assert told.return_value == 3
    assert "The network hardly learnt: try more images" in told.output
    assert "The backdoor did not take: try more --epochs" in told.output


def test_a_patch_takes_in_a_network_without_normalisation_too(place: Path) -> None:
    card = place / "bare.yaml"
    card.write_text(CARD.replace("small-resnet", "mlp"), encoding="utf-8")
    told = order(place, "bare", "--card", str(card))
    assert told.exception is None, told.output
    assert told.return_value == 0, told.output


def test_one_image_of_each_class_leaves_none_to_test_on(place: Path, digits: Images) -> None:
    first = [int((digits.labels == label).nonzero()[0]) for label in range(10)]
    pixels, labels = digits.pixels[first, 0].numpy(), digits.labels[first].numpy()
    np.savez(place / "one.npz", images=pixels, labels=labels)
    refused = order(place, "none-left", "--data", str(place / "one.npz"))
    assert isinstance(refused.exception, DataError)
    assert "which leaves none to test the network on" in str(refused.exception)
    assert not (place / "none-left").exists()


def test_what_lies_there_is_not_overwritten(place: Path, made: Path) -> None:
    before = (made / "truth.json").read_bytes()
    refused = order(place, "made")
    assert "not an empty directory" in str(refused.exception)
    assert (made / "truth.json").read_bytes() == before
