"""The least shift inside a network: short towards a class that one unit switches on."""

from __future__ import annotations

import pytest
import torch
from conftest import fresh_network
from torch import Tensor, nn

from gatekeeper.model import Images, Model
from gatekeeper.records import InputSpec
from gatekeeper.shifts import least_shifts


class Skipping(nn.Module):
    """A network whose middle carries half of the answer: no module between is all that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(36, 8), nn.Linear(36, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, pixels: Tensor) -> Tensor:
        flat = pixels.flatten(1)
        return self.head(torch.relu(self.first(flat)) + torch.relu(self.second(flat)))


def of(network: nn.Module, classes: int = 5) -> tuple[Model, Images]:
    names = tuple(f"c{n}" for n in range(classes))
    spec = InputSpec(size=(1, 6, 6), mean=(0.5,), std=(0.5,))
    model = Model(network=network.eval(), input=spec, classes=names, architecture="test")
    pixels = torch.randint(
        0, 256, (60, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return model, Images(pixels=pixels, labels=torch.arange(60) % classes, classes=names)


def test_a_class_that_one_unit_switches_on_is_near() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(36, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 5)
    )
    network[5].weight.data *= 0.3
    network[5].weight.data[3, 7] = 6.0
    model, images = of(network)
    lengths = least_shifts(model, images, seed=0, depth=1.0)
    assert lengths is not None
    assert int(lengths.argmin()) == 3
    assert float(lengths.median() / lengths[3]) > 1.5


def test_a_cut_is_found_where_blocks_skip(held_out: Images) -> None:
    model = fresh_network()
    for depth in (0.35, 0.65):
        lengths = least_shifts(
            model, held_out.select(torch.arange(64)), seed=0, depth=depth, steps=20
        )
        assert lengths is not None
        assert lengths.shape == (10,)
        assert bool((lengths > 0).all())
    assert not any(module._forward_hooks for module in model.network.modules())


def test_where_no_module_carries_all_there_is_no_answer() -> None:
    torch.manual_seed(0)
    model, images = of(Skipping())
    assert least_shifts(model, images, seed=0, depth=0.3) is None


@pytest.mark.parametrize("shape", ["tokens", "channels last"])
def test_channels_are_found_where_they_are(shape: str) -> None:
    torch.manual_seed(0)

    class Turned(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            turned = pixels.movedim(1, -1)  # (N, H, W, C)
            return turned.flatten(1, 2) if shape == "tokens" else turned

    network = nn.Sequential(
        nn.Conv2d(1, 7, 1), Turned(), nn.Linear(7, 7), nn.ReLU(), nn.Flatten(), nn.Linear(252, 5)
    )
    model, images = of(network)
    lengths = least_shifts(model, images, seed=0, depth=0.9, steps=10)
    assert lengths is not None
    assert lengths.shape == (5,)
