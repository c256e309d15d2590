"""Every architecture that the gate promises to serve: read, screened, exported, compared."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from gatekeeper.candidate.loading import load
from gatekeeper.card import EMPTY, read_card
from gatekeeper.export import export, parity
from gatekeeper.job import Job
from gatekeeper.model import Images
from gatekeeper.network import layers, walk
from gatekeeper.pipeline import run

pytestmark = pytest.mark.slow
OWN = Path(__file__).with_name("own_networks.py")
TORCHVISION = (
    "resnet18", "resnet50", "wide_resnet50_2", "vgg11_bn", "densenet121", "mobilenet_v3_small",
    "efficientnet_b0", "convnext_tiny", "vit_b_16", "regnet_y_400mf",
)  # fmt: skip
GREY = {"lenet": (1, 28, 28), "perceptron": (1, 28, 28)}
CLASSES = 10


def noise(size: tuple[int, int, int], count: int = 6) -> Images:
    chance = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, *size), dtype=torch.uint8, generator=chance)
    labels = torch.arange(count) % CLASSES
    return Images(pixels=pixels, labels=labels, classes=tuple(str(n) for n in range(CLASSES)))


def taken_through(network: nn.Module, folder: Path, card: Path | None) -> None:
    """Scan a state dict without clean images, then export what was read and hold it to torch."""
    torch.save(network.state_dict(), folder / "model.pt")
    job = Job(
        model=str(folder / "model.pt"),
        out=str(folder / "run"),
        card=str(card) if card else None,
        device="cpu",
    )
    record = run(job)
    assert record.candidate.num_classes == CLASSES
    assert record.candidate.parameters == sum(p.numel() for p in network.parameters())
    assert record.screens["neuron-norm"].outcome == "not-flagged"
    assert record.screens["last-layer"].outcome != "not-run"
    assert record.norms
    model = load(
        folder / "run/weights.safetensors", read_card(card, trusted=True) if card else EMPTY
    )
    export(model, folder / "model.onnx", metadata={})
    compared = parity(model, folder / "model.onnx", noise(model.input.size))
    assert compared.top1_agreement == 1.0
    assert compared.max_abs_diff < 1e-3


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_is_recognised_and_served(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = models.get_model(name, weights=None, num_classes=CLASSES)
    taken_through(network.eval(), tmp_path, card=None)


@pytest.mark.parametrize("name", ["lenet", "perceptron", "preact_resnet"])
def test_an_operators_own_network_is_served(name: str, tmp_path: Path) -> None:
    channels, height, width = GREY.get(name, (3, 32, 32))
    card = tmp_path / "card.yaml"
    card.write_text(
        f"architecture: {OWN}:{name}\nnum_classes: {CLASSES}\n"
        f"input: {{size: [{channels}, {height}, {width}], mean: {[0.5] * channels}, "
        f"std: {[0.25] * channels}}}\n",
        encoding="utf-8",
    )
    import own_networks

    torch.manual_seed(0)
    taken_through(getattr(own_networks, name)(CLASSES).eval(), tmp_path, card)


def test_norms_of_a_preactivation_network_are_folded_by_the_graph(tmp_path: Path) -> None:
    import own_networks

    torch.save(own_networks.preact_resnet(CLASSES).state_dict(), tmp_path / "model.pt")
    (tmp_path / "card.yaml").write_text(
        f"architecture: {OWN}:preact_resnet\nnum_classes: {CLASSES}\n", encoding="utf-8"
    )
    out = tmp_path / "run"
    run(Job(model=str(tmp_path / "model.pt"), out=str(out), card=str(tmp_path / "card.yaml")))
    model = load(out / "weights.safetensors", read_card(tmp_path / "card.yaml", trusted=True))
    _, wiring = walk(model)
    pairs = {layer.name: layer.batch_norm for layer in layers(model)}
    assert wiring.seen == "traced"
    # In module order bn1 stands before conv1; in the graph conv1 feeds bn2 alone.
    assert pairs["blocks.0.conv1"] == "blocks.0.bn2"
    assert pairs["blocks.0.conv2"] is None  # its output is added to the shortcut
    assert pairs["stem"] is None
