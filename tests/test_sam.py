"""The sharpness-aware step against its equations, written out tensor by tensor."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatekeeper.model import Images, Model
from gatekeeper.records import InputSpec
from gatekeeper.sam import SharpnessAware
from gatekeeper.training import Recipe, fine_tune, frozen_running_stats

RHO, RATE, MOMENTUM, DECAY, STEPS = 2.0, 0.05, 0.9, 5e-4, 3
SPEC = InputSpec(size=(1, 8, 8), mean=(0.5,), std=(0.25,))
CLASSES = ("a", "b", "c", "d")


class Doubled(nn.Module):
    """A convolution, a BatchNorm and a linear layer, in double precision behind its door."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 4)
        ).double()
        self.layers[1].bias.data.fill_(0.1)  # a weight of zero would stay where it is

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.layers(x.double())
        return answer


@dataclass
class Batch:
    pixels: Tensor
    labels: Tensor


@pytest.fixture
def network() -> Doubled:
    torch.manual_seed(0)
    return Doubled()


@pytest.fixture
def batch() -> Batch:
    chance = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (8, 1, 8, 8), generator=chance, dtype=torch.uint8)
    return Batch(pixels, torch.randint(4, (8,), generator=chance))


def slope(network: nn.Module, batch: Batch) -> Tensor:
    """Leave the gradients on the network; give the loss."""
    network.zero_grad()
    answer = network((batch.pixels.float() / 255 - 0.5) / 0.25)
    loss = F.cross_entropy(answer.float(), batch.labels)
    loss.backward()
    return loss


def gradients(network: nn.Module) -> list[Tensor]:
    return [weight.grad.clone() for weight in network.parameters() if weight.grad is not None]


def written_out(start: nn.Module, batch: Batch, *, adaptive: bool) -> nn.Module:
    """Take STEPS steps of min over w of max over ||T_w^-1 eps||_2 <= rho of L(w + eps)."""
    network = copy.deepcopy(start).train()
    velocity = [torch.zeros_like(weight) for weight in network.parameters()]
    for step in range(STEPS):
        slope(network, batch)
        statistics = {name: tensor.clone() for name, tensor in network.named_buffers()}
        before = [weight.detach().clone() for weight in network.parameters()]
        first = gradients(network)
        squares = 0.0
        for w, g in zip(before, first, strict=True):
            squares += float(((w.abs() if adaptive else 1) * g).pow(2).sum())
        with torch.no_grad():
            for weight, w, g in zip(network.parameters(), before, first, strict=True):
                weight += RHO * (w * w if adaptive else 1) * g / (squares**0.5 + 1e-12)
        slope(network, batch)
        for name, tensor in network.named_buffers():
            tensor.copy_(statistics[name])
        second = gradients(network)
        with torch.no_grad():
            for place, (weight, w) in enumerate(zip(network.parameters(), before, strict=True)):
                pull = second[place] + DECAY * w
                velocity[place] = pull if step == 0 else MOMENTUM * velocity[place] + pull
                weight.copy_(w - RATE * velocity[place])
    return network


def assert_equal(one: nn.Module, other: nn.Module) -> None:
    """Weights, BatchNorm's running statistics and its counter."""
    wanted = other.state_dict()
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(tensor, wanted[name], rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("adaptive", [True, False])
def test_climbing_and_coming_back_is_the_equation(
    network: Doubled, batch: Batch, adaptive: bool
) -> None:
    expected = written_out(network, batch, adaptive=adaptive)
    sharp = SharpnessAware(network.parameters(), rho=RHO, adaptive=adaptive)
    descent = torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)
    for _ in range(STEPS):
        slope(network, batch)
        sharp.climb()
        with frozen_running_stats(network):
            slope(network, batch)
        sharp.come_back()
        descent.step()
    assert_equal(network, expected)


def test_the_training_loop_takes_this_very_step(network: Doubled, batch: Batch) -> None:
    model = Model(network=network, input=SPEC, classes=CLASSES, architecture="doubled")
    images = Images(pixels=batch.pixels, labels=batch.labels, classes=CLASSES)
    recipe = Recipe(
        epochs=STEPS, lr=RATE, momentum=MOMENTUM, weight_decay=DECAY, rho=RHO, batch=8,
        schedule="constant", precision="fp32",
    )  # fmt: skip
    tuned, _ = fine_tune(model, images, recipe, seed=0)
    assert_equal(tuned.network, written_out(network, batch, adaptive=True))


def test_weights_norms_and_biases_move_together_as_far_as_the_radius(
    network: Doubled, batch: Batch
) -> None:
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    slope(network, batch)
    SharpnessAware(network.parameters(), rho=RHO).climb()
    squares = {
        name: float(((weight.detach() - before[name]) / before[name].abs()).pow(2).sum())
        for name, weight in network.named_parameters()
    }
    # A bias before BatchNorm is subtracted again, so that its gradient is zero but for rounding.
    assert {name for name, square in squares.items() if square < 1e-20} == {"layers.0.bias"}
    assert sum(squares.values()) ** 0.5 == pytest.approx(RHO, rel=1e-9)


def test_it_comes_back_exactly_and_keeps_the_second_gradient(
    network: Doubled, batch: Batch
) -> None:
    before = [weight.detach().clone() for weight in network.parameters()]
    sharp = SharpnessAware(network.parameters(), rho=RHO)
    slope(network, batch)
    first = gradients(network)
    sharp.climb()
    slope(network, batch)
    second = gradients(network)
    sharp.come_back()
    assert all(torch.equal(w, old) for w, old in zip(network.parameters(), before, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(gradients(network), second, strict=True))
    assert not torch.equal(first[0], second[0])


def test_frozen_weights_stay_and_do_not_count(network: Doubled, batch: Batch) -> None:
    convolution = network.layers[0]
    convolution.requires_grad_(False)
    before = [weight.detach().clone() for weight in network.parameters()]
    slope(network, batch)
    SharpnessAware(network.parameters(), rho=RHO).climb()
    moved = [not torch.equal(w, old) for w, old in zip(network.parameters(), before, strict=True)]
    assert moved[:2] == [False, False]
    assert any(moved)


def test_no_gradient_and_zero_gradient_do_no_harm(network: Doubled) -> None:
    before = [weight.detach().clone() for weight in network.parameters()]
    sharp = SharpnessAware(network.parameters(), rho=RHO)
    sharp.climb()
    sharp.come_back()
    for weight in network.parameters():
        weight.grad = torch.zeros_like(weight)
    sharp.climb()
    assert all(torch.equal(w, old) for w, old in zip(network.parameters(), before, strict=True))


def test_a_pass_that_fails_leaves_weights_and_statistics_as_they_were(
    network: Doubled, batch: Batch
) -> None:
    before = [weight.detach().clone() for weight in network.parameters()]
    sharp = SharpnessAware(network.parameters(), rho=RHO)
    slope(network, batch)
    statistics = {name: tensor.clone() for name, tensor in network.named_buffers()}
    sharp.climb()
    with pytest.raises(ZeroDivisionError), frozen_running_stats(network):
        network(batch.pixels)
        _ = 1 / 0
    sharp.come_back()
    assert all(torch.equal(w, old) for w, old in zip(network.parameters(), before, strict=True))
    assert all(torch.equal(t, statistics[name]) for name, t in network.named_buffers())
    norm = network.layers[1]
    network(batch.pixels)
    assert not torch.equal(norm.running_mean, statistics["layers.1.running_mean"])
