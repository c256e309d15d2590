"""What would take too long is told at once, and never taken for clean."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gatekeeper.effort import too_long
from gatekeeper.model import Images, Model
from gatekeeper.records import InputSpec
from gatekeeper.screening import IMAGE_SCREENS, MaximumMargin
from gatekeeper.screening.interface import drawn


def large(classes: int) -> tuple[Model, Images]:
    """A network on images of 224x224 that must never be run."""

    class Never(nn.Module):
        def forward(self, _pixels: torch.Tensor) -> torch.Tensor:
            message = "it was run"
            raise AssertionError(message)

    names = tuple(f"c{k}" for k in range(classes))
    spec = InputSpec(size=(3, 224, 224), mean=(0.5,) * 3, std=(0.5,) * 3)
    model = Model(network=Never(), input=spec, classes=names, architecture="large")
    pixels = torch.zeros(2 * classes, 3, 224, 224, dtype=torch.uint8)
    labels = torch.arange(classes).repeat(2)
    return model, Images(pixels=pixels, labels=labels, classes=names)


@pytest.mark.parametrize("name", IMAGE_SCREENS)
def test_searches_on_large_images_are_told_and_not_run(name: str) -> None:
    model, images = large(10)
    result, findings = IMAGE_SCREENS[name]()(model, images)
    assert (result.outcome, findings) == ("not-run", [])
    assert "10 classes at 3x224x224 would take too long on cpu" in result.message


def test_many_classes_of_large_images_have_no_margins_on_a_cpu() -> None:
    model, _ = large(40)
    assert MaximumMargin()(model)[0].outcome == "not-run"
    assert too_long(large(10)[0], 10 * 400) is None
    assert too_long(large(10)[0], 10 * 400, share=0.1) is not None


def test_a_sample_holds_as_many_of_each_class_as_there_are() -> None:
    labels = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    images = Images(
        pixels=torch.zeros(1000, 1, 2, 2, dtype=torch.uint8), labels=labels, classes=("a", "b", "c")
    )
    counts = drawn(images, 300, seed=0).labels.bincount().tolist()
    assert counts == [100, 90, 10]
    assert drawn(images, 1000, seed=0) is images
