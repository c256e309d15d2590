"""Layers, units and norms, with the BatchNorm that follows folded in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatekeeper.candidate.networks import SmallResNet
from gatekeeper.model import Images, Model
from gatekeeper.network import layers, norms, unfolded, unit_norms, walk
from gatekeeper.records import InputSpec


def model_of(network: nn.Module, size: tuple[int, int, int] = (3, 8, 8)) -> Model:
    spec = InputSpec(size=size, mean=(0.0,) * size[0], std=(1.0,) * size[0])
    classes = ("a", "b", "c", "d")
    return Model(network=network.eval(), input=spec, classes=classes, architecture="test")


def rows(weight: Tensor) -> np.ndarray:
    """L2 norm of each row, in double precision, without torch."""
    array = weight.detach().numpy().astype(np.float64)
    return np.sqrt((array.reshape(len(array), -1) ** 2).sum(axis=1))


LAYERS = {
    "conv1d": nn.Conv1d(3, 5, 3),
    "conv2d": nn.Conv2d(3, 5, (3, 1), bias=False),
    "grouped": nn.Conv2d(6, 6, 3, groups=3),
    "depthwise": nn.Conv2d(6, 6, 3, groups=6),
    "conv3d": nn.Conv3d(1, 5, 2),
    "linear": nn.Linear(7, 4),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_a_norm_is_that_of_the_unit_s_weights(kind: str) -> None:
    layer = LAYERS[kind]
    found = norms(model_of(nn.Sequential(layer)))["0"]
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), rows(layer.weight), rtol=1e-12)  # type: ignore[arg-type]


def test_many_weights_are_counted_in_pieces() -> None:
    torch.manual_seed(0)
    wide = nn.Linear(3_000_000, 3)
    found = norms(model_of(nn.Sequential(wide)))["0"].numpy()
    np.testing.assert_allclose(found, rows(wide.weight), rtol=1e-9)


def by_hand(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """W gamma / sqrt(var + eps), and the bias that makes both give the same."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    folded = nn.Conv2d(conv.in_channels, conv.out_channels, 3, conv.stride, conv.padding)
    folded.weight.data = conv.weight * scale.view(-1, 1, 1, 1)
    folded.bias = nn.Parameter(norm.bias - norm.running_mean * scale)
    return folded


def test_a_folded_norm_is_that_of_the_folded_convolution(backdoored: Model, digits: Images) -> None:
    trained = backdoored.network
    assert isinstance(trained, SmallResNet)
    conv, norm = trained.stem[0], trained.stem[1]
    folded = by_hand(conv, norm)  # type: ignore[arg-type]
    pixels = digits.select(torch.arange(20)).floats()
    with torch.no_grad():
        torch.testing.assert_close(folded(pixels), norm(conv(pixels)), rtol=1e-4, atol=1e-5)
    found = norms(backdoored)["stem.0"].numpy()
    np.testing.assert_allclose(found, rows(folded.weight), rtol=1e-5)
    assert not np.allclose(found, rows(conv.weight), rtol=0.1)  # type: ignore[arg-type]


def test_every_convolution_of_a_trained_network_is_folded_into_its_own(backdoored: Model) -> None:
    modules = dict(backdoored.network.named_modules())
    pairs = {layer.name: layer.batch_norm for layer in layers(backdoored)}
    assert pairs.pop("head") is None
    for conv, norm in pairs.items():
        assert norm is not None
        folded = by_hand(modules[conv], modules[norm])  # type: ignore[arg-type]
        found = norms(backdoored)[conv].numpy()
        np.testing.assert_allclose(found, rows(folded.weight), rtol=1e-5)


def test_a_batchnorm_without_weights_still_scales() -> None:
    network = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4, affine=False, eps=0.0))
    network[1].running_var.fill_(4.0)
    found = norms(model_of(network))["0"].numpy()
    np.testing.assert_allclose(found, rows(network[0].weight) / 2, rtol=1e-12)


class Backwards(nn.Module):
    """Written down from the last layer to the first, with one that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.auxiliary = nn.Linear(5, 4)
        self.scores = nn.Linear(6, 4)
        self.hidden = nn.Linear(5, 6)
        self.first = nn.Conv2d(3, 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.scores(F.relu(self.hidden(self.first(x).mean((2, 3)))))
        return y


def test_layers_come_in_the_order_in_which_they_run() -> None:
    found = layers(model_of(Backwards()))
    assert [layer.name for layer in found] == ["first", "hidden", "scores", "auxiliary"]
    assert [layer.kind for layer in found] == ["conv", "linear", "linear", "linear"]
    assert [layer.name for layer in found if layer.is_head] == ["scores"]


def test_without_a_layer_of_as_many_units_as_classes_there_is_no_head() -> None:
    assert not any(layer.is_head for layer in layers(model_of(nn.Sequential(nn.Linear(4, 3)))))
    assert layers(model_of(nn.Sequential(nn.Flatten(), nn.ReLU()))) == []


@pytest.mark.parametrize("width", [None, 5])
def test_attention_shows_its_projections(width: int | None) -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, kdim=width, vdim=width, batch_first=True)
            self.head = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            tokens = x.flatten(1, 2)  # (N, 24, 8)
            other = tokens[..., : width or 8]
            seen, _ = self.attention(tokens, other, other)
            scores: Tensor = self.head(seen.mean(1))
            return scores

    model = model_of(Attends())
    attention = model.network.attention
    parts = ["in_proj"] if width is None else ["q_proj", "k_proj", "v_proj"]
    names = [f"attention.{part}" for part in (*parts, "out_proj")]
    assert [layer.name for layer in layers(model)] == [*names, "head"]
    for part in parts:
        weight = getattr(attention, f"{part}_weight")
        np.testing.assert_allclose(norms(model)[f"attention.{part}"], rows(weight), rtol=1e-12)
    expected = rows(attention.out_proj.weight)  # type: ignore[union-attr,arg-type]
    np.testing.assert_allclose(norms(model)["attention.out_proj"], expected, rtol=1e-12)


def test_weights_that_are_not_finite_give_no_norm() -> None:
    network = nn.Sequential(nn.Linear(8, 4))
    network[0].weight.data[1, 1] = float("nan")
    network[0].weight.data[2, 2] = float("inf")
    model = model_of(network)
    assert not unit_norms(model, layers(model)[0])[[1, 2]].isfinite().any()
    assert not norms(model)["0"][[1, 2]].isfinite().any()


class Stuck(nn.Module):
    """A network that cannot be traced and does not run."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        message = "no way"
        raise RuntimeError(message if bool(x.sum() >= 0) else "at all")


def test_norms_of_a_network_that_does_not_run_stand_without_batchnorm_and_say_so() -> None:
    model = model_of(Stuck())
    model.network.norm.weight.data.fill_(7.0)  # type: ignore[union-attr,operator]
    walked, wiring = walk(model)
    assert wiring.seen == "unseen"
    assert [layer.batch_norm for layer in walked] == [None]
    assert "without BatchNorm" in unfolded(model, wiring)
    np.testing.assert_allclose(norms(model)["conv"], rows(model.network.conv.weight), rtol=1e-12)  # type: ignore[union-attr,arg-type]
    assert unfolded(model_of(Backwards()), wiring) == ""
