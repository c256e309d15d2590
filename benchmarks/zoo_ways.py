"""Ways to train a clean network of the zoo that are not the plain one."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from gatekeeper.model import Images, Model
from gatekeeper.perturbation import mislead
from gatekeeper.training import Recipe, fine_tune

_EPSILON = 4 / 255  # of adversarial training


def clean(fresh: Model, images: Images, recipe: Recipe, *, way: str, seed: int) -> Model:
    """Train a network that no one poisons."""
    if way == "adversarial":
        return _adversarial(fresh, images, recipe, seed)
    reins = {"noisy": lambda copy: _Noise(copy, recipe), "dropped": _Dropout}
    return fine_tune(fresh, images, recipe, seed=seed, rein=reins.get(way))[0]


def _adversarial(fresh: Model, images: Images, recipe: Recipe, seed: int) -> Model:
    """Train on images that the network of the moment was misled by."""
    model = fresh
    for epoch in range(recipe.epochs):
        view = model.pixels_to_logits().eval()
        parts = [images.select(index) for index in torch.arange(len(images)).split(500)]
        moved = torch.cat([mislead(view, part, epsilon=_EPSILON, steps=4) for part in parts])
        worse = replace(images, pixels=moved.mul(255).round().to(torch.uint8))
        part = replace(
            recipe, epochs=1, lr=recipe.lr * (1 - epoch / recipe.epochs), schedule="constant"
        )
        model = fine_tune(model, worse if epoch else images, part, seed=seed + epoch)[0]
    return model


class _Free:
    """Holds a training to nothing."""

    def penalty(self) -> Tensor:
        return torch.zeros(())

    def project(self) -> None:
        """Leave the weights where they are."""


class _Dropout(_Free):
    """Lets the last linear layer see half of its input at a time while training."""

    def __init__(self, model: Model) -> None:
        layers = [layer for layer in model.network.modules() if isinstance(layer, nn.Linear)]
        layers[-1].register_forward_pre_hook(
            lambda layer, given: (functional.dropout(given[0], training=layer.training),)
        )


class _Noise(_Free):
    """Adds noise to the weights after each step, as differentially private training does."""

    def __init__(self, model: Model, recipe: Recipe) -> None:
        self.weights = list(model.network.parameters())
        self.strength = 0.02 * recipe.lr
        self.generator = torch.Generator().manual_seed(0)

    @torch.no_grad()
    def project(self) -> None:
        for weight in self.weights:
            weight += self.strength * torch.randn(weight.shape, generator=self.generator)


@torch.no_grad()
def quantise(network: nn.Module) -> None:
    """Round every weight to one of 255 steps of its tensor, as an 8-bit deployment does."""
    for weight in network.parameters():
        step = weight.abs().max() / 127
        if step > 0:
            weight.copy_((weight / step).round() * step)
