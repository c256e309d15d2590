"""Two families of small networks that the gate has no name for: VGG-like, and a transformer."""

from __future__ import annotations

from torch import nn
from torchvision.models import VisionTransformer

_WIDTHS = (16, 32, 64)
_PATCHES = 4  # to a side


def vgg(channels: int, _height: int, _width: int, num_classes: int) -> nn.Module:
    """Build a plain stack of 3x3 convolutions with BatchNorm, halved in size three times."""
    stages: list[nn.Module] = []
    before = channels
    for width in _WIDTHS:
        for _ in range(2):
            stages += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            before = width
        stages.append(nn.MaxPool2d(2))
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, num_classes)]
    return nn.Sequential(*stages, *head)


def vit(channels: int, height: int, _width: int, num_classes: int) -> nn.Module:
    """Build a vision transformer of four layers on sixteen patches of square images."""
    patch = height // _PATCHES
    network = VisionTransformer(
        image_size=height, patch_size=patch, num_layers=4, num_heads=4, hidden_dim=64, mlp_dim=128,
        num_classes=num_classes,
    )  # fmt: skip
    if channels != network.conv_proj.in_channels:
        network.conv_proj = nn.Conv2d(channels, 64, patch, stride=patch)
    return network
