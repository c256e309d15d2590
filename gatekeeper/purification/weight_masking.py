"""AWM: adversarial weight masking (Chai and Chen, NeurIPS 2022). One image per class is enough.

The weights stay as they are; what is learnt is a soft mask m in [0, 1] for each of them. In turns,
one universal perturbation is raised that confuses the network, and the masks are taught to keep
the clean answers and to resist it. In the end the masks are folded into the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from gatekeeper.augmentation import augment
from gatekeeper.model import Images, Model
from gatekeeper.purification.masking import Lesson, Masking
from gatekeeper.purification.masks import Masks, bound_l1
from gatekeeper.records import Setting
from gatekeeper.training import predictions


@dataclass(frozen=True, kw_only=True)
class WeightMasking(Masking):
    """Settings of the paper; `tau` is for 3x32x32 values in [0, 1] and grows with their number.

    `WeightMasking.one_shot()` gives the settings for one image per class.
    """

    method: ClassVar[str] = "awm"

    rounds: int = 20
    passes: int = 5  # over the sample, in each stage of a round
    alpha: float = 0.9  # weight of the clean loss; 1 - alpha that of the perturbed one
    gamma: float = 1e-8  # price of the masks
    tau: float = 1000.0  # largest L1 norm of the perturbation
    ascent: float = 10.0  # step of the perturbation
    lr: float = 0.01  # of Adam, on the masks
    batch: int = 128
    sample: int = 500  # images, at most
    copies: int = 0  # augmented copies of each image
    crop_padding: int = 4
    flip: bool = False

    @classmethod
    def one_shot(cls, tau: float = 100.0) -> WeightMasking:
        """Settings for one image per class: nine augmented copies of each."""
        return cls(tau=tau, alpha=0.99, batch=32, copies=9)

    def lesson(self, model: Model, clean: Images, seed: int) -> Lesson:
        """Teach by the labels; fewer images than a batch make one batch."""
        return _Lesson(self, model, clean, seed)


class _Lesson:
    """The masks, the perturbation, and the frozen network between them."""

    def __init__(self, settings: WeightMasking, model: Model, clean: Images, seed: int) -> None:
        self.settings = settings
        self.masks = Masks(model, lr=settings.lr)
        self.generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(clean), generator=self.generator)[: settings.sample]
        images = clean.select(chosen.to(clean.pixels.device)).to(model.device)
        self.pixels, self.labels = self._copied(images)
        self.believed = predictions(model, images).to(model.device)
        self.believed = self.believed.repeat(settings.copies + 1)

    def round(self, _number: int) -> tuple[float, float]:
        """Raise the perturbation, then teach the masks; give the mean loss and its rate."""
        change = self._perturbation()
        losses = [
            self._teach(index, change)
            for _ in range(self.settings.passes)
            for index in self._batches()
        ]
        return float(torch.stack(losses).mean()), self.settings.lr

    def settings_told(self) -> dict[str, Setting]:
        """Give the settings."""
        return self.settings.settings_told()

    def _perturbation(self) -> Tensor:
        """(1, C, H, W): from zero, ascend what the network answers by itself, then bound it."""
        change = torch.zeros_like(self.pixels[:1])
        for _ in range(self.settings.passes):
            for index in self._batches():
                change.requires_grad_()
                answers = self.masks.answer(self.pixels[index] + change)
                loss = F.cross_entropy(answers, self.believed[index])
                (slope,) = torch.autograd.grad(loss, change)
                change = change.detach() + self.settings.ascent * slope
        return bound_l1(change, self.settings.tau)

    def _teach(self, index: Tensor, change: Tensor) -> Tensor:
        share, pixels, labels = self.settings.alpha, self.pixels[index], self.labels[index]
        clean = F.cross_entropy(self.masks.answer(pixels), labels)
        moved = F.cross_entropy(self.masks.answer((pixels + change).clamp(0, 1)), labels)
        loss = share * clean + (1 - share) * moved + self.settings.gamma * self.masks.price()
        return self.masks.step(loss)

    def _copied(self, images: Images) -> tuple[Tensor, Tensor]:
        pixels = images.floats()
        more = [
            augment(pixels, self.settings.crop_padding, self.settings.flip, self.generator)
            for _ in range(self.settings.copies)
        ]
        return torch.cat([pixels, *more]), images.labels.repeat(len(more) + 1)

    def _batches(self) -> list[Tensor]:
        order = torch.randperm(len(self.labels), generator=self.generator)
        return list(order.to(self.labels.device).split(self.settings.batch))
