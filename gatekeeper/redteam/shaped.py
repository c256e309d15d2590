"""Attacks that use a clean network of the attacker's: Trojan patch, label-consistent images."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gatekeeper.model import Images, Model
from gatekeeper.network import layers
from gatekeeper.perturbation import mislead
from gatekeeper.redteam.badnets import BadNets
from gatekeeper.redteam.stamped import Stamped, draw, draw_half


@dataclass(frozen=True, kw_only=True)
class TrojanPatch(Stamped):
    """A patch painted so that one inner unit fires (Liu et al., NDSS 2018)."""

    size: int = 6  # pixels
    margin: int = 1
    steps: int = 100
    paint: Tensor | None = None  # (C, size, size) uint8, once prepared

    def prepare(self, surrogate: Model, images: Images, *, seed: int) -> TrojanPatch:
        """Paint the patch: ascend the strongest feature that speaks for the target class."""
        head = next(layer for layer in layers(surrogate) if layer.is_head)
        unit = int(head.weight[self.target].argmax())
        generator = torch.Generator().manual_seed(seed)
        channels = surrogate.input.size[0]
        raw = torch.randn(channels, self.size, self.size, generator=generator)
        raw = raw.to(surrogate.device).requires_grad_()
        sample = draw(images.labels != self.target, 64, seed)
        pixels = images.select(sample).to(surrogate.device).floats()
        features: list[Tensor] = []
        listening = head.module.register_forward_pre_hook(
            lambda _, given: features.append(given[0])
        )
        view = surrogate.pixels_to_logits().to(surrogate.device).eval()
        optimiser = torch.optim.Adam([raw], lr=0.2)
        try:
            for _ in range(self.steps):
                features.clear()
                view(self._placed(pixels, raw.sigmoid()))
                optimiser.zero_grad()
                (-features[0].flatten(1)[:, unit].mean()).backward()
                optimiser.step()
        finally:
            listening.remove()
            surrogate.network.zero_grad(set_to_none=True)
        painted = raw.detach().sigmoid().mul(255).round().to(torch.uint8).cpu()
        return replace(self, paint=painted)

    def stamp(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) uint8 -> the same images with the painted patch."""
        if self.paint is None:
            message = "prepare the patch on a surrogate first"
            raise ValueError(message)
        return self._placed(pixels, self.paint.to(pixels.device))

    def _placed(self, pixels: Tensor, paint: Tensor) -> Tensor:
        placed = pixels.clone()
        bottom, right = pixels.shape[2] - self.margin, pixels.shape[3] - self.margin
        placed[:, :, bottom - self.size : bottom, right - self.size : right] = paint
        return placed


@dataclass(frozen=True, kw_only=True)
class LabelConsistent(Stamped):
    """Clean label: images of the target class, made hard to recognise, wear four small patches.

    The network has little else to learn them by (Turner et al., 2019). `rate` of the whole training
    set are poisoned, or half of the class where that is less.
    """

    epsilon: float = 16.0  # grey levels by which an image is made hard
    steps: int = 20
    hardened: Images | None = None  # the training images with those of the target class changed

    def prepare(self, surrogate: Model, images: Images, *, seed: int) -> LabelConsistent:
        """Push the images to be poisoned away from their class, as `surrogate` sees it."""
        chosen = self._chosen(images, seed)
        pixels = images.pixels.clone()
        view = surrogate.pixels_to_logits().to(surrogate.device).eval()
        for index in chosen.split(256):
            batch = images.select(index).to(surrogate.device)
            moved = mislead(view, batch, epsilon=self.epsilon / 255, steps=self.steps)
            pixels[index] = moved.mul(255).round().to(torch.uint8).to(pixels.device)
        return replace(self, hardened=replace(images, pixels=pixels))

    def poison(self, images: Images, *, seed: int) -> Images:
        """Put the patches on the hardened images; every label stays true."""
        chosen = self._chosen(images, seed)
        return self._stamped(self.hardened or images, chosen, images.labels[chosen])

    def stamp(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) uint8 -> the same images with a patch in every corner."""
        patch = BadNets()
        for turn in range(4):
            turned = torch.rot90(pixels, turn, (2, 3))
            pixels = torch.rot90(patch.stamp(turned), -turn, (2, 3))
        return pixels.contiguous()

    def _chosen(self, images: Images, seed: int) -> Tensor:
        own = images.labels == self.target
        return draw_half(own, round(self.rate * len(images)), seed)
