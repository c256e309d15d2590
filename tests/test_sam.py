"""The sharpness-aware step against its equation, written out tensor by tensor."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatekeeper.sam import SharpnessAware
from gatekeeper.training import frozen_running_stats


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 4)
    ).double()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(1)
    return (
        torch.rand(8, 1, 8, 8, generator=chance, dtype=torch.float64),
        torch.randint(4, (8,), generator=chance),
    )


def gradients(network: nn.Module, batch: tuple[Tensor, Tensor]) -> list[Tensor]:
    network.zero_grad()
    F.cross_entropy(network(batch[0]), batch[1]).backward()
    return [weight.grad.clone() for weight in network.parameters() if weight.grad is not None]


@pytest.mark.parametrize("adaptive", [True, False])
def test_the_climb_is_the_equation(
    network: nn.Module, batch: tuple[Tensor, Tensor], adaptive: bool
) -> None:
    before = [weight.detach().clone() for weight in network.parameters()]
    slope = gradients(network, batch)
    scaled = [w.abs() * g if adaptive else g for w, g in zip(before, slope, strict=True)]
    one_norm = torch.cat([part.flatten() for part in scaled]).norm() + 1e-12
    expected = [
        w + 2.0 * (w**2 if adaptive else 1.0) * g / one_norm
        for w, g in zip(before, slope, strict=True)
    ]
    SharpnessAware(network.parameters(), rho=2.0, adaptive=adaptive).climb()
    for weight, wanted in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(weight.detach(), wanted, rtol=1e-12, atol=1e-12)


def test_it_comes_back_exactly_and_keeps_the_second_gradient(
    network: nn.Module, batch: tuple[Tensor, Tensor]
) -> None:
    before = [weight.detach().clone() for weight in network.parameters()]
    sharp = SharpnessAware(network.parameters(), rho=2.0)
    gradients(network, batch)
    sharp.climb()
    second = gradients(network, batch)
    sharp.come_back()
    for weight, old, slope in zip(network.parameters(), before, second, strict=True):
        assert torch.equal(weight.detach(), old)
        assert weight.grad is not None
        assert torch.equal(weight.grad, slope)


def test_frozen_weights_stay_and_do_not_count(
    network: nn.Module, batch: tuple[Tensor, Tensor]
) -> None:
    convolution = network[0]  # type: ignore[index]
    convolution.requires_grad_(False)
    before = convolution.weight.clone()
    sharp = SharpnessAware(network.parameters(), rho=2.0)
    gradients(network, batch)
    sharp.climb()
    assert torch.equal(convolution.weight, before)


def test_no_gradient_and_zero_gradient_do_no_harm(network: nn.Module) -> None:
    before = [weight.detach().clone() for weight in network.parameters()]
    sharp = SharpnessAware(network.parameters(), rho=2.0)
    sharp.climb()
    sharp.come_back()
    for weight in network.parameters():
        weight.grad = torch.zeros_like(weight)
    sharp.climb()
    for weight, old in zip(network.parameters(), before, strict=True):
        assert torch.equal(weight.detach(), old)


def test_running_statistics_move_on_the_first_pass_only(
    network: nn.Module, batch: tuple[Tensor, Tensor]
) -> None:
    norm = network[1]  # type: ignore[index]
    network(batch[0])
    moved = norm.running_mean.clone()
    with frozen_running_stats(network):
        network(batch[0] + 1)
    assert torch.equal(norm.running_mean, moved)
    assert norm.track_running_stats
    network(batch[0] + 1)
    assert not torch.equal(norm.running_mean, moved)
