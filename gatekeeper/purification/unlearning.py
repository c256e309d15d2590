"""Unlearning of the universal perturbation that misleads the network most, while it is tuned.

min over w of L(w, x) + `counter` * max over ||d||_inf <= `reach` of L(w, clip(x + d)), one d for
all images (Zeng et al., ICLR 2022, where d is bounded otherwise and found anew in each round). A
backdoor is the shortest way to mislead a network, so d finds it without knowing the trigger. L is
the cross-entropy, in part against the candidate's own answers on the clean image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from gatekeeper.augmentation import augment
from gatekeeper.model import Images, Model
from gatekeeper.precision import autocast
from gatekeeper.purification.tuning import MakeRein, Tuning, recipe_of
from gatekeeper.records import Setting
from gatekeeper.training import Recipe, frozen_running_stats

_ASCENT = 0.25  # of `reach`, in each step


@dataclass(frozen=True, kw_only=True)
class Unlearning(Tuning):
    """Tune on clean images, and on the same under one perturbation that is kept at its worst.

    `rho` above 0 makes the steps sharpness-aware, as in FT-SAM; `reach` is in pixel values.
    """

    method: ClassVar[str] = "unlearn"

    counter: float = 1.0
    reach: float = 8 / 255
    rho: float = 0.5
    lr: float = 0.05
    epochs: int = 60
    batch: int = 128
    momentum: float = 0.9
    weight_decay: float = 5e-4
    distil: float = 0.9  # weight in [0, 1] of the candidate's own soft answers
    crop_padding: int = 0
    flip: bool = False
    clip: float = 0.0  # largest gradient norm; 0: none

    def recipe(self) -> Recipe:
        """One cosine cycle."""
        return recipe_of(self, schedule="cosine")

    def rein(self, model: Model, clean: Images, seed: int) -> MakeRein:
        """Keep one perturbation of the copy at its worst, beside what the candidate answers."""
        return lambda tuned, recipe: _Counter(self, model, tuned, clean, recipe.batch, seed)

    def more(self) -> dict[str, Setting]:
        """Tell what the rein is set to."""
        return {"counter": self.counter, "reach": self.reach}


class _Counter:
    """One perturbation for all images, which climbs while the network descends."""

    def __init__(
        self,
        settings: Unlearning,
        candidate: Model,
        tuned: Model,
        clean: Images,
        batch: int,
        seed: int,
    ) -> None:
        self.settings, self.tuned, self.clean, self.batch = settings, tuned, clean, batch
        self.view = tuned.pixels_to_logits().to(tuned.device)
        self.teacher = candidate.clone().pixels_to_logits().to(tuned.device).eval()
        self.generator = torch.Generator().manual_seed(seed)
        self.change = torch.zeros(1, *clean.pixels.shape[1:], device=tuned.device)
        self._draw()

    def penalty(self) -> Tensor:
        """() `counter` times the loss on perturbed images."""
        with frozen_running_stats(self.tuned.network):
            return self.settings.counter * self._loss(self.change)

    def project(self) -> None:
        """Let the perturbation climb on what the network has become, and draw other images."""
        self._draw()
        self.tuned.network.eval()
        change = self.change.requires_grad_()
        (slope,) = torch.autograd.grad(self._loss(change), change)
        self.tuned.network.train()
        reach = self.settings.reach
        self.change = (change.detach() + _ASCENT * reach * slope.sign()).clamp(-reach, reach)

    def _loss(self, change: Tensor) -> Tensor:
        pixels = (self.pixels + change).clamp(0, 1).contiguous(memory_format=torch.channels_last)
        with autocast(pixels.device, "auto"):
            answer = self.view(pixels)
        share = self.settings.distil
        right = F.cross_entropy(answer.float(), self.labels)
        return (1 - share) * right + share * F.cross_entropy(answer.float(), self.taught)

    @torch.no_grad()
    def _draw(self) -> None:
        order = torch.randperm(len(self.clean), generator=self.generator)
        index = order[: self.batch].to(self.clean.pixels.device)
        batch = self.clean.select(index).to(self.tuned.device)
        self.pixels = augment(
            batch.floats(), self.settings.crop_padding, self.settings.flip, self.generator
        )
        self.labels = batch.labels
        with autocast(self.pixels.device, "auto"):
            self.taught = self.teacher(self.pixels).float().softmax(dim=1)
