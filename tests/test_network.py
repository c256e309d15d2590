"""Norms are folded by the graph of the network, never by the order of its modules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatekeeper.model import Model
from gatekeeper.network import layers, norms
from gatekeeper.records import InputSpec
from gatekeeper.wiring import wire

SPEC = InputSpec(size=(3, 8, 8), mean=(0.0,) * 3, std=(1.0,) * 3)


def model_of(network: nn.Module) -> Model:
    chance = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(-2, 2, generator=chance)
            module.running_var.uniform_(0.1, 3, generator=chance)  # type: ignore[union-attr]
    classes = ("a", "b", "c", "d")
    return Model(network=network.eval(), input=SPEC, classes=classes, architecture="test")


class Trunk(nn.Module):
    """Modules written down in an order that lies about how they are wired."""

    def __init__(self) -> None:
        super().__init__()
        self.late = nn.BatchNorm2d(6)
        self.first = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.early = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.gap = nn.Identity()
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.early(self.first(x)))
        y = self.late(self.gap(self.second(y)))
        scores: Tensor = self.head(y.mean((2, 3)))
        return scores


class TakenTwice(Trunk):
    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return super().forward(x) + self.head((self.early(y) + y).mean((2, 3)))


class Wilful(Trunk):
    """Its flow depends on values, which no tracer can follow."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 1) if float(x.sum()) >= 0 else super().forward(x)


class Broken(Trunk):
    def forward(self, x: Tensor) -> Tensor:
        message = "no way"
        raise RuntimeError(message if float(x.sum()) < 1e9 else "")


@pytest.mark.parametrize(("kind", "seen"), [(Trunk, "traced"), (Wilful, "watched")])
def test_pairs_follow_the_graph(kind: type[Trunk], seen: str) -> None:
    model = model_of(kind())
    wiring = wire(model.network, SPEC.size)
    assert wiring.seen == seen
    assert dict(wiring.batch_norms) == {"first": "early", "second": "late"}
    assert [layer.name for layer in layers(model)] == ["first", "second", "head"]
    assert [layer.is_head for layer in layers(model)] == [False, False, True]


def test_an_output_that_is_taken_twice_is_not_folded() -> None:
    assert "first" not in wire(model_of(TakenTwice()).network, SPEC.size).batch_norms


def test_a_network_that_does_not_run_has_norms_without_folding() -> None:
    model = model_of(Broken())
    assert wire(model.network, SPEC.size).seen == "unseen"
    assert set(norms(model)) == {"first", "second", "head"}


def test_looking_leaves_the_network_alone() -> None:
    network = model_of(Wilful()).network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    wire(network, SPEC.size)
    assert network.training
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_a_folded_norm_is_that_of_the_folded_convolution() -> None:
    model = model_of(Trunk())
    trunk = model.network
    assert isinstance(trunk, Trunk)
    scale = trunk.early.weight / (trunk.early.running_var + trunk.early.eps).sqrt()  # type: ignore[operator]
    folded = nn.Conv2d(3, 6, 3, padding=1)
    folded.weight.data = trunk.first.weight * scale.view(-1, 1, 1, 1)
    folded.bias.data = trunk.early.bias - trunk.early.running_mean * scale  # type: ignore[operator,union-attr]
    pixels = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        folded(pixels), trunk.early(trunk.first(pixels)), rtol=1e-4, atol=1e-5
    )
    expected = np.linalg.norm(folded.weight.detach().numpy().reshape(6, -1), axis=1)
    np.testing.assert_allclose(norms(model)["first"].numpy(), expected, rtol=1e-5)


def test_attention_shows_its_projections() -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.head = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            tokens = x.flatten(1, 2)
            seen, _ = self.attention(tokens, tokens, tokens)
            scores: Tensor = self.head(seen.mean(1))
            return scores

    found = norms(model_of(Attends()))
    assert found["attention.in_proj"].shape == (24,)
    assert found["attention.out_proj"].shape == (8,)
