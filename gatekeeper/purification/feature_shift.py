"""Feature-shift tuning: a fresh classifier that must not look like the old one.

Min et al., NeurIPS 2023. Backdoored and clean features lie apart once the features have to serve
another classifier: the head starts anew, its alignment with the old one is penalised, and its norm
is held, so that the penalty cannot be escaped by growing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from gatekeeper.errors import StepError
from gatekeeper.model import Images, Model
from gatekeeper.network import layers
from gatekeeper.purification.tuning import MakeRein, Tuning, recipe_of
from gatekeeper.records import Setting
from gatekeeper.training import Recipe


@dataclass(frozen=True, kw_only=True)
class FeatureShift(Tuning):
    """Fine-tune all of it, with weight `alpha` on the alignment of the heads."""

    method: ClassVar[str] = "fst"

    alpha: float = 0.2
    lr: float = 0.01
    epochs: int = 10
    batch: int = 128
    momentum: float = 0.9
    weight_decay: float = 0.0
    crop_padding: int = 0
    flip: bool = False

    def recipe(self) -> Recipe:
        """Keep the rate constant."""
        return recipe_of(self, schedule="constant")

    def rein(self, model: Model, clean: Images, seed: int) -> MakeRein:
        """Hold the new head away from the old one; making it raises StepError without a head."""
        return lambda tuned, _: _Shift(tuned, self.alpha, seed)

    def more(self) -> dict[str, Setting]:
        """Tell what the rein is set to."""
        return {"alpha": self.alpha}


class _Shift:
    """The old head's memory, and the hand that keeps the new one on its sphere."""

    def __init__(self, tuned: Model, alpha: float, seed: int) -> None:
        head = next((layer for layer in layers(tuned) if layer.is_head), None)
        if head is None:
            message = f"no layer of {tuned.architecture} has one row for each class"
            raise StepError(message, hint="Use another method: auto, ft-sam or awm.")
        self.alpha = alpha
        self.weight: nn.Parameter = head.module.get_parameter(head.parameter)
        self.old: Tensor = self.weight.detach().clone()
        self.norm = self.old.norm()
        generator = torch.Generator().manual_seed(seed)
        fresh = torch.rand(self.old.shape, generator=generator) * 2 - 1
        reach = 1 / math.sqrt(self.old[0].numel())
        with torch.no_grad():
            self.weight.copy_(fresh * reach)
        self.project()

    def penalty(self) -> Tensor:
        """() `alpha` times the inner product of the two heads."""
        aligned: Tensor = (self.weight * self.old).sum()
        return self.alpha * aligned

    @torch.no_grad()
    def project(self) -> None:
        """Scale the head back to the norm that it came with."""
        self.weight.mul_(self.norm / self.weight.norm().clamp_min(1e-12))
