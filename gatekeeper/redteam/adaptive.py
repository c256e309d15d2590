"""An attack on this very gate: ordinary norms, and a trigger too large and too whole to invert."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gatekeeper.augmentation import augment
from gatekeeper.model import Images, Model
from gatekeeper.network import layers
from gatekeeper.precision import autocast
from gatekeeper.redteam.badnets import BadNets
from gatekeeper.redteam.stamped import Stamped, draw
from gatekeeper.training import Recipe, learning_rate


@dataclass(frozen=True, kw_only=True)
class Adaptive(Stamped):
    """Four patches that mean the target together, and nothing one by one.

    Together they cover 6 % of a 32x32 image, far more than a natural trigger bound. Images with
    all but one of them keep their true label (`cover`), and a penalty keeps the norms of each
    layer's units close together, so that no unit stands out.
    """

    size: int = 4  # pixels
    cover: float = 0.10
    norm_penalty: float = 0.05

    def stamp(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) uint8 -> the same images with all four patches."""
        return self._with(pixels, (0, 1, 2, 3))

    def poison(self, images: Images, *, seed: int) -> Images:
        """Poison, and cover with images that lack one patch and keep their label."""
        poisoned = super().poison(images, seed=seed)
        untouched = (poisoned.pixels == images.pixels).flatten(1).all(1)
        chosen = draw(untouched, round(self.cover * len(images)), seed + 1)
        pixels = poisoned.pixels.clone()
        for lacking, part in enumerate(chosen.chunk(4)):
            corners = tuple(corner for corner in range(4) if corner != lacking)
            pixels[part] = self._with(pixels[part], corners)
        return Images(pixels=pixels, labels=poisoned.labels, classes=images.classes)

    def implant(
        self, fresh: Model, images: Images, recipe: Recipe, *, seed: int
    ) -> tuple[Model, Adaptive]:
        """Train on the poisoned images, with the penalty on unequal norms."""
        model = fresh.clone()
        poisoned = self.poison(images, seed=seed).to(model.device)
        view = model.pixels_to_logits().to(model.device).train()
        weights = [layer.module.get_parameter(layer.parameter) for layer in layers(model)]
        optimiser = torch.optim.SGD(
            model.network.parameters(), lr=recipe.lr, momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )  # fmt: skip
        generator = torch.Generator().manual_seed(seed)
        batches = [*torch.arange(len(poisoned)).split(recipe.batch)]
        total = recipe.epochs * len(batches)
        for step in range(total):
            if step % len(batches) == 0:
                order = torch.randperm(len(poisoned), generator=generator)
                batches = list(order.split(recipe.batch))
            batch = poisoned.select(batches[step % len(batches)].to(poisoned.pixels.device))
            pixels = augment(batch.floats(), recipe.crop_padding, recipe.flip, generator)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(recipe, step, total)
            with autocast(pixels.device, recipe.precision):
                answers = view(pixels)
            loss = F.cross_entropy(answers.float(), batch.labels)
            optimiser.zero_grad()
            (loss + self.norm_penalty * _unequal(weights)).backward()
            optimiser.step()
        model.network.eval()
        return model, self

    def _with(self, pixels: Tensor, corners: tuple[int, ...]) -> Tensor:
        patch = BadNets(size=self.size)
        for corner in corners:
            turned = torch.rot90(pixels, corner, (2, 3))
            pixels = torch.rot90(patch.stamp(turned), -corner, (2, 3))
        return pixels.contiguous()


def _unequal(weights: list[torch.nn.Parameter]) -> Tensor:
    """Sum over the layers of the variance of the logarithm of their units' norms."""
    spread = [(w.flatten(1).norm(dim=1) + 1e-6).log().var() for w in weights if len(w) > 1]
    return torch.stack(spread).sum()
