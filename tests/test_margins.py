"""Maximum margins: the target of a backdoor can be pushed furthest, without any image."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from conftest import fresh_network
from torch import Tensor, nn

from gatekeeper.margins import maximum_margins
from gatekeeper.model import Model
from gatekeeper.records import InputSpec
from gatekeeper.screening import MaximumMargin


def linear(weights: torch.Tensor) -> Model:
    head = nn.Linear(weights.shape[1], len(weights), bias=False)
    head.weight.data.copy_(weights)
    spec = InputSpec(size=(1, 2, weights.shape[1] // 2), mean=(0.0,), std=(1.0,))
    names = tuple(str(k) for k in range(len(weights)))
    return Model(
        network=nn.Sequential(nn.Flatten(), head), input=spec, classes=names, architecture="linear"
    )


def test_the_margin_of_a_linear_network_is_the_best_corner() -> None:
    """Two classes: w0 - w1 summed where it is positive."""
    weights = torch.tensor([[2.0, -1.0, 0.5, 0.0], [0.5, 1.0, 1.0, 0.0]])
    found = maximum_margins(linear(weights), seed=0)
    assert torch.allclose(found, torch.tensor([1.5, 2.5]), atol=1e-3)


def test_the_target_of_a_backdoor_stands_far_above_the_rest(
    backdoored: Model, clean_model: Model
) -> None:
    margins = maximum_margins(backdoored, seed=0)
    assert int(margins.argmax()) == 0
    result, findings = MaximumMargin()(backdoored)
    honest, _ = MaximumMargin()(clean_model)
    assert result.score is not None
    assert honest.score is not None
    assert result.score > 1.5 > honest.score
    assert "class '0' can be pushed furthest" in result.message
    assert (result.outcome, findings) == ("not-flagged", [])


def test_the_same_seed_gives_the_same_and_the_network_is_left_alone(clean_model: Model) -> None:
    model = clean_model.clone()
    model.network.train()
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    first, again = (maximum_margins(model, seed=3, starts=1, steps=5) for _ in range(2))
    assert torch.equal(first, again)
    assert model.network.training
    assert all(weight.requires_grad for weight in model.network.parameters())
    assert all(torch.equal(before[n], t) for n, t in model.network.state_dict().items())


def test_what_cannot_be_compared_is_undecided() -> None:
    broken = fresh_network()
    *_, head = broken.network.parameters()
    head.data.fill_(torch.nan)
    assert MaximumMargin(steps=2)(broken)[0].outcome == "undecided"
    assert maximum_margins(broken, seed=0, steps=2).isnan().all()
    result, _ = MaximumMargin(steps=2)(linear(torch.zeros(5, 8)))
    assert (result.outcome, result.score) == ("undecided", None)
    assert "to no class" in result.message
    only = torch.zeros(5, 8)
    only[3] = 1
    result, _ = MaximumMargin(steps=20)(linear(only))
    assert result.outcome == "not-flagged"
    assert result.score is not None
    assert result.score > 100
    assert "to class '3' alone" in result.message


class OwnSoftmax(nn.Module):
    """Ends in a softmax, or in what looks like one and is none."""

    def __init__(self, network: nn.Module, *, honest: bool) -> None:
        super().__init__()
        self.network, self.honest = network, honest

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.network(pixels)
        powers = logits.exp()
        return F.softmax(logits, 1) if self.honest else powers / powers.sum(1, keepdim=True)


@pytest.mark.parametrize("kind", ["module", "function"])
def test_probabilities_are_seen_before_their_softmax(backdoored: Model, kind: str) -> None:
    network = backdoored.clone().network
    soft = nn.Sequential(network, nn.Softmax(1))
    view = soft if kind == "module" else OwnSoftmax(network, honest=True)
    model = replace(backdoored, network=view.eval(), output="probabilities")
    bare = maximum_margins(backdoored, seed=0, starts=2, steps=20)
    torch.testing.assert_close(
        maximum_margins(model, seed=0, starts=2, steps=20), bare, atol=0.5, rtol=0.05
    )
    assert float(bare.max()) > 15
    assert MaximumMargin(starts=2, steps=20)(model)[0].score is not None


def test_probabilities_without_a_softmax_end_at_one_and_are_told(backdoored: Model) -> None:
    own = OwnSoftmax(backdoored.clone().network, honest=False)
    result, _ = MaximumMargin()(replace(backdoored, network=own.eval(), output="probabilities"))
    assert (result.outcome, result.score) == ("not-run", None)
    assert "no softmax" in result.message
