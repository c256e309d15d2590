"""Which BatchNorm takes whose output is seen in the graph, and never in the order of modules."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatekeeper.candidate.networks import BUILT_IN
from gatekeeper.wiring import Wiring, wire

SIZE = (3, 8, 8)


class Trunk(nn.Module):
    """Modules written down in an order that lies about how they are wired."""

    def __init__(self) -> None:
        super().__init__()
        self.late = nn.BatchNorm2d(6)
        self.first = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.second = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.early = nn.BatchNorm2d(6)
        self.gap = nn.Identity()
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.early(self.first(x)))
        y = self.late(self.gap(self.second(y)))
        scores: Tensor = self.head(y.mean((2, 3)))
        return scores


class TakenTwice(Trunk):
    """The first convolution feeds its BatchNorm and a way around it."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        y = self.late(self.second(F.relu(self.early(y) + y)))
        scores: Tensor = self.head(y.mean((2, 3)))
        return scores


class AsksForShape(Trunk):
    """A question between a convolution and its BatchNorm takes nothing away."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        count = y.shape[0]
        y = F.relu(self.early(y)).view(count, 6, *SIZE[1:])
        scores: Tensor = self.head(self.late(self.second(y)).mean((2, 3)))
        return scores


class Shared(Trunk):
    """One convolution runs twice, before two BatchNorms."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.early(self.first(x)) + self.late(self.first(-x))
        scores: Tensor = self.head(y.mean((2, 3)))
        return scores


class PreActivation(Trunk):
    """Each BatchNorm normalises what goes INTO the convolution that is named beside it."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(F.relu(self.late(self.first(x))))
        scores: Tensor = self.head(F.relu(self.early(y)).mean((2, 3)))
        return scores


class Broken(Trunk):
    def forward(self, x: Tensor) -> Tensor:
        message = "no way"
        raise RuntimeError(message if float(x.sum()) < 1e9 else "")


BOTH = {"first": "early", "second": "late"}
PAIRS: dict[type[Trunk], dict[str, str]] = {
    Trunk: BOTH,
    AsksForShape: BOTH,
    TakenTwice: {"second": "late"},
    Shared: {},
    PreActivation: {"first": "late", "second": "early"},
}


def wilful(kind: type[Trunk]) -> nn.Module:
    """Make the same network with a flow that depends on values, which no tracer can follow."""

    class Wilful(kind):  # type: ignore[misc,valid-type]
        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = super().forward(x + 1 if float(x.sum()) > 0 else x)
            return scores

    return Wilful()


@pytest.mark.parametrize("kind", PAIRS)
def test_traced_pairs_follow_the_graph(kind: type[Trunk]) -> None:
    wiring = wire(kind(), SIZE)
    assert wiring.seen == "traced"
    assert dict(wiring.batch_norms) == PAIRS[kind]


@pytest.mark.parametrize("kind", PAIRS)
def test_watched_pairs_are_the_traced_ones(kind: type[Trunk]) -> None:
    wiring = wire(wilful(kind), SIZE)
    assert wiring.seen == "watched"
    assert dict(wiring.batch_norms) == PAIRS[kind]
    running = {"first", "second", "early", "late", "head"}
    assert [name for name in wiring.order if name in running] == [
        name for name in wire(kind(), SIZE).order if name in running
    ]


def test_a_preactivation_resnet_is_paired_by_its_graph() -> None:
    pairs = wire(BUILT_IN["gatekeeper:preact-resnet18"](3, 32, 32, 10), (3, 32, 32)).batch_norms
    assert pairs["blocks.3.conv1"] == "blocks.3.bn2"
    # The sum of a block feeds the next block's first BatchNorm; no convolution does so alone.
    assert set(pairs) == {f"blocks.{block}.conv1" for block in range(8)}


def test_a_residual_network_is_paired_through_its_shortcuts() -> None:
    pairs = wire(BUILT_IN["gatekeeper:small-resnet"](1, 32, 32, 10), (1, 32, 32)).batch_norms
    assert pairs["stages.0.shortcut.0"] == "stages.0.shortcut.1"
    assert pairs["stages.2.conv2"] == "stages.2.bn2"
    assert len(pairs) == 10


def test_what_cannot_run_at_all_is_unseen() -> None:
    assert wire(Broken(), SIZE) == Wiring(order=(), batch_norms={}, seen="unseen")
    assert wire(Trunk(), (1, 8, 8)).seen == "traced"  # traced without an image
    assert wire(wilful(Trunk), (1, 8, 8)).seen == "unseen"  # and watched with a wrong one


def test_a_batchnorm_without_statistics_or_of_another_width_is_not_folded() -> None:
    adrift = Trunk()
    adrift.early = nn.BatchNorm2d(6, track_running_stats=False)
    assert set(wire(adrift, SIZE).batch_norms) == {"second"}
    flat = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Flatten(), nn.BatchNorm1d(216), nn.Linear(216, 4))
    assert wire(flat, SIZE).batch_norms == {}
    narrow = nn.Sequential(nn.Linear(8, 5), nn.BatchNorm1d(5), nn.Linear(5, 4))
    assert wire(narrow, SIZE).batch_norms == {"0": "1"}


@pytest.mark.parametrize("network", [Trunk(), wilful(Trunk), Broken()])
def test_looking_leaves_the_network_alone(network: nn.Module) -> None:
    network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    wire(network, SIZE)
    assert all(module.training for module in network.modules())
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
    hooks = ("_forward_hooks", "_forward_pre_hooks")
    assert not any(getattr(module, hook) for module in network.modules() for hook in hooks)
