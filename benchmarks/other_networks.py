"""Networks as tutorials and others' repositories build them, none of which the zoo has."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from torch import nn
from torchvision.models import resnet18

Build = Callable[[int, int, int], nn.Module]  # channels, height and width, classes


def small(channels: int, side: int, classes: int) -> nn.Module:
    """Build two convolutions and two linear layers."""
    return nn.Sequential(
        *_convolution(channels, 16), nn.MaxPool2d(2), *_convolution(16, 32), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * (side // 4) ** 2, 128), nn.ReLU(), nn.Linear(128, classes),
    )  # fmt: skip


def dropped(channels: int, side: int, classes: int) -> nn.Module:
    """Build the same, wider and with dropout."""
    return nn.Sequential(
        *_convolution(channels, 32), nn.MaxPool2d(2), nn.Dropout(0.25),
        *_convolution(32, 64), nn.MaxPool2d(2), nn.Dropout(0.25),
        nn.Flatten(), nn.Linear(64 * (side // 4) ** 2, 256), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(256, classes),
    )  # fmt: skip


def wide(channels: int, side: int, classes: int) -> nn.Module:
    """Build three linear layers."""
    return _linear(channels * side**2, 512, 256, classes)


def deep(channels: int, side: int, classes: int) -> nn.Module:
    """Build six narrow linear layers."""
    return _linear(channels * side**2, 100, 100, 100, 100, 100, classes)


def six(channels: int, side: int, classes: int) -> nn.Module:
    """Build six convolutions without BatchNorm and two linear layers, with dropout."""
    layers: list[nn.Module] = []
    for before, width in pairwise((channels, 16, 32, 64)):
        layers += [*_convolution(before, width), *_convolution(width, width), nn.MaxPool2d(2)]
        layers.append(nn.Dropout(0.2))
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(64 * (side // 8) ** 2, 256), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(256, classes),
    )  # fmt: skip


def vgg11(channels: int, side: int, classes: int) -> nn.Module:
    """Build VGG-11 without its last stage, narrower, with BatchNorm and one linear layer."""
    layers: list[nn.Module] = []
    widths: tuple[tuple[int, ...], ...] = ((32,), (64,), (128, 128), (128, 128))
    before = channels
    for stage in widths:
        for width in stage:
            layers += _convolution(before, width, normalised=True)
            before = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * (side // 16) ** 2, classes))


def residual(_channels: int, _side: int, classes: int) -> nn.Module:
    """Build torchvision's ResNet-18, whose stem was made for larger images."""
    return resnet18(num_classes=classes)


def _convolution(before: int, width: int, *, normalised: bool = False) -> list[nn.Module]:
    norm = [nn.BatchNorm2d(width)] if normalised else []
    return [nn.Conv2d(before, width, 3, padding=1), *norm, nn.ReLU()]


def _linear(*widths: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    for before, width in pairwise(widths):
        layers += [nn.Linear(before, width), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


NETWORKS: dict[str, dict[str, Build]] = {
    "mnist": {"small": small, "dropped": dropped, "wide": wide, "deep": deep},
    "cifar10": {"six": six, "vgg11": vgg11, "residual": residual},
    "gtsrb": {"six": six, "vgg11": vgg11, "residual": residual},
}
