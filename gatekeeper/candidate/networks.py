"""Built-in networks, by name: what the demo, the tests and the benchmarks train."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with BatchNorm and a way around them (He et al., 2016)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        """Go from `channels` to `width` channels."""
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, width, H / stride, W / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class SmallResNet(nn.Module):
    """One residual block a stage, widths 16, 32, 64: about 80,000 weights."""

    def __init__(self, channels: int, num_classes: int) -> None:
        """Take any image size."""
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.stages = nn.Sequential(
            ResidualBlock(16, 16, 2), ResidualBlock(16, 32, 2), ResidualBlock(32, 64, 2)
        )
        self.head = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, classes)."""
        features: Tensor = self.stages(self.stem(x)).mean(dim=(2, 3))
        logits: Tensor = self.head(features)
        return logits


class PreActBlock(nn.Module):
    """Normalisation and activation before each convolution (He et al., 2016, identity mappings)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        """Go from `channels` to `width` channels."""
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.shortcut: nn.Module | None = None
        if stride != 1 or channels != width:
            self.shortcut = nn.Conv2d(channels, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, width, H / stride, W / stride)."""
        ready = F.relu(self.bn1(x))
        around = x if self.shortcut is None else self.shortcut(ready)
        out: Tensor = self.conv2(F.relu(self.bn2(self.conv1(ready)))) + around
        return out


class PreActResNet18(nn.Module):
    """The network of the published benchmarks: four stages of two pre-activation blocks."""

    def __init__(self, channels: int, num_classes: int) -> None:
        """Take any image size from 8x8 up."""
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 3, 1, 1, bias=False)
        blocks: list[nn.Module] = []
        before = 64
        for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            blocks += [PreActBlock(before, width, stride), PreActBlock(width, width, 1)]
            before = width
        self.blocks = nn.Sequential(*blocks)
        self.bn = nn.BatchNorm2d(512)
        self.head = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, classes)."""
        features = F.relu(self.bn(self.blocks(self.conv1(x)))).mean(dim=(2, 3))
        logits: Tensor = self.head(features)
        return logits


def lenet(channels: int, height: int, width: int, num_classes: int) -> nn.Module:
    """Build LeNet-5 with ReLU: no BatchNorm anywhere (LeCun et al., 1998)."""
    flat = 16 * ((height - 4) // 2 - 4 >> 1) * ((width - 4) // 2 - 4 >> 1)
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(flat, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, num_classes),
    )


def mlp(channels: int, height: int, width: int, num_classes: int) -> nn.Module:
    """Build a fully connected network with two hidden layers of 256."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * height * width, 256),
        nn.ReLU(),
        nn.Linear(256, 256),
        nn.ReLU(),
        nn.Linear(256, num_classes),
    )


def small_resnet(channels: int, _height: int, _width: int, num_classes: int) -> nn.Module:
    """Build the small residual network of the demo."""
    return SmallResNet(channels, num_classes)


def preact_resnet18(channels: int, _height: int, _width: int, num_classes: int) -> nn.Module:
    """Build PreAct-ResNet18 for small images."""
    return PreActResNet18(channels, num_classes)


BUILT_IN: dict[str, Callable[[int, int, int, int], nn.Module]] = {
    "gatekeeper:small-resnet": small_resnet,
    "gatekeeper:preact-resnet18": preact_resnet18,
    "gatekeeper:lenet": lenet,
    "gatekeeper:mlp": mlp,
}
