"""`Model` and `Images`: what every method takes and gives."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from gatekeeper.records import InputSpec

Output = Literal["logits", "probabilities"]


class Normalised(nn.Module):
    """A network that takes pixels in [0, 1] and gives logits, whatever it was trained on."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, spec: InputSpec, output: Output) -> None:
        """Put the card's normalisation before `network` and the logarithm after probabilities."""
        super().__init__()
        self.network = network
        self.output = output
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, -1, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N, classes)."""
        answer: Tensor = self.network((pixels - self.mean) / self.std)
        if isinstance(answer, tuple):  # GoogLeNet and Inception, training, add auxiliary heads
            answer = answer[0]
        return answer.clamp_min(1e-12).log() if self.output == "probabilities" else answer


@dataclass(frozen=True, kw_only=True)
class Model:
    """A network with what is needed to feed it; methods return a new one and never change this."""

    network: nn.Module
    input: InputSpec
    classes: tuple[str, ...]
    architecture: str
    output: Output = "logits"

    def pixels_to_logits(self) -> Normalised:
        """View the SAME weights as a module from pixels in [0, 1] to logits."""
        return Normalised(self.network, self.input, self.output)

    def clone(self) -> Model:
        """Copy the weights; what is done to the copy leaves this one alone."""
        return replace(self, network=copy.deepcopy(self.network))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        tensors = [*self.network.parameters(), *self.network.buffers()]
        return tensors[0].device if tensors else torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Images:
    """Labelled images: `pixels` (N, C, H, W) uint8 0..255, `labels` (N,) int64."""

    pixels: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int:
        """Count the images."""
        return int(self.labels.shape[0])

    def select(self, index: Tensor) -> Images:
        """Keep the images at `index` (int64 positions or a boolean mask)."""
        return replace(self, pixels=self.pixels[index], labels=self.labels[index])

    def to(self, device: torch.device | str) -> Images:
        """Move both tensors."""
        return replace(self, pixels=self.pixels.to(device), labels=self.labels.to(device))

    def floats(self) -> Tensor:
        """(N, C, H, W) float32 in [0, 1]."""
        return self.pixels.float().div_(255)
