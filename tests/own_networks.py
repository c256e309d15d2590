"""Networks of an operator's own, as `own_networks.py:NAME` in a card."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def lenet(num_classes: int) -> nn.Module:
    """Give LeNet for grey 28x28 images: convolutions without BatchNorm."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, num_classes),
    )  # fmt: skip


def perceptron(num_classes: int) -> nn.Module:
    """Give a fully connected network for grey 28x28 images."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(),
        nn.Linear(64, num_classes),
    )  # fmt: skip


class Block(nn.Module):
    """Normalisation and activation before each convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.bn1(x)))
        return x + self.conv2(F.relu(self.bn2(y)))


class PreActResNet(nn.Module):
    """A short pre-activation ResNet."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.blocks = nn.Sequential(Block(16), Block(16))
        self.norm = nn.BatchNorm2d(16)
        self.head = nn.Linear(16, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = F.relu(self.norm(self.blocks(self.stem(x))))
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


def preact_resnet(num_classes: int) -> nn.Module:
    """Give the pre-activation ResNet."""
    return PreActResNet(num_classes)
