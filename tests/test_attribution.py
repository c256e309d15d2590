"""The units that a trigger moves are named, in networks of every kind of layer."""

from __future__ import annotations

import torch
from torch import nn

from gatekeeper.attribution import unit_changes
from gatekeeper.model import Images, Model
from gatekeeper.records import InputSpec
from gatekeeper.triggers import Trigger


def planted() -> tuple[Model, Images, Trigger]:
    """Unit 3 of the convolution answers to the corner alone, and so does unit 5 of the linear."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(),
        nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 4),
    )  # fmt: skip
    network[0].weight.data *= 0.05
    network[0].weight.data[3] = 2.0
    network[5].weight.data *= 0.05
    network[5].weight.data[5, 3] = 3.0
    names = ("a", "b", "c", "d")
    spec = InputSpec(size=(1, 8, 8), mean=(0.0,), std=(1.0,))
    model = Model(network=network.eval(), input=spec, classes=names, architecture="test")
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 40, (40, 1, 8, 8), dtype=torch.uint8, generator=generator)
    images = Images(pixels=pixels, labels=torch.arange(40) % 4, classes=names)
    mask = torch.zeros(8, 8)
    mask[:3, :3] = 1
    trigger = Trigger(
        target=1, mask=mask, pattern=torch.ones(1, 8, 8), area=float(mask.mean()), success=1.0,
        reached=True,
    )  # fmt: skip
    return model, images, trigger


def test_the_units_that_carry_it_come_first() -> None:
    model, images, trigger = planted()
    changes = unit_changes(model, images, trigger, seed=0)
    assert set(changes) == {"0", "5", "7"}
    assert int(changes["0"].argmax()) == 3
    assert int(changes["5"].argmax()) == 5
    assert float(changes["0"][3]) > 5 * float(changes["0"].median())
    assert [len(changes[name]) for name in ("0", "5", "7")] == [12, 12, 4]


def test_a_trigger_that_changes_nothing_moves_no_unit() -> None:
    model, images, trigger = planted()
    nothing = Trigger(
        target=1, mask=torch.zeros(8, 8), pattern=trigger.pattern, area=0.0, success=0.0,
        reached=False,
    )  # fmt: skip
    changes = unit_changes(model, images, nothing, seed=0)
    assert all(float(change.abs().max()) < 1e-9 for change in changes.values())
    assert not any(module._forward_hooks for module in model.network.modules())


def test_batches_change_nothing() -> None:
    model, images, trigger = planted()
    whole = unit_changes(model, images, trigger, seed=0)
    many = images.select(torch.arange(40).repeat(5))
    again = unit_changes(model, many, trigger, seed=1, sample=1000)
    for name, change in whole.items():
        torch.testing.assert_close(change, again[name], atol=1e-6, rtol=1e-4)
