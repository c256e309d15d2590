"""Input-aware dynamic backdoor: a generator gives every image a trigger of its own.

Nguyen and Tran, NeurIPS 2020. A trigger made for one image must not work on another (cross
triggers keep their true label), so that no single mask and pattern can be recovered.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatekeeper.augmentation import augment
from gatekeeper.model import Images, Model
from gatekeeper.precision import autocast
from gatekeeper.redteam.stamped import Stamped
from gatekeeper.training import Recipe, learning_rate

_DENSITY = 0.05  # share of the image that a mask may cover before it is made to pay
_MOST_AT_ONCE = 512


class _Painter(nn.Module):
    """(N, C, H, W) in [0, 1] -> (N, out, H, W) in [0, 1]."""

    def __init__(self, channels: int, out: int, width: int = 24) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU(),
            nn.Upsample(scale_factor=2), nn.Conv2d(2 * width, width, 3, 1, 1),
            nn.BatchNorm2d(width), nn.ReLU(),
            nn.Upsample(scale_factor=2), nn.Conv2d(width, out, 3, 1, 1),
        )  # fmt: skip

    def forward(self, pixels: Tensor) -> Tensor:
        painted: Tensor = self.layers(pixels * 2 - 1)
        return painted.sigmoid()


@dataclass(frozen=True, kw_only=True)
class InputAware(Stamped):
    """Classifier and painters learn together; `cross` images a batch wear a stranger's trigger."""

    cross: float = 0.10
    diversity: float = 1.0
    painters: nn.ModuleDict | None = None  # mask and pattern, once implanted

    def implant(
        self, fresh: Model, images: Images, recipe: Recipe, *, seed: int
    ) -> tuple[Model, InputAware]:
        """Train network and painters on the clean images; the attack holds the painters."""
        training = _Training(self, fresh, images, recipe, seed)
        for epoch in range(recipe.epochs):
            training.epoch(epoch)
        training.model.network.eval()
        painters = nn.ModuleDict({"mask": training.mask, "pattern": training.pattern}).eval()
        for weight in painters.parameters():
            weight.requires_grad_(False)
        return training.model, replace(self, painters=painters)

    @torch.no_grad()
    def stamp(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) uint8 -> each image with the trigger that was painted for it."""
        if self.painters is None:
            message = "implant the attack first: its trigger is learnt with the network"
            raise ValueError(message)
        stamped = []
        device = next(self.painters.parameters()).device
        for part in pixels.split(_MOST_AT_ONCE):
            shown = part.to(device).float() / 255
            mask, pattern = self.painters["mask"](shown), self.painters["pattern"](shown)
            worn = shown + mask * (pattern - shown)
            stamped.append(worn.mul(255).round().clamp(0, 255).to(torch.uint8).to(pixels.device))
        return torch.cat(stamped)


class _Training:
    """Network, mask painter and pattern painter in one loop; the mask is settled first."""

    def __init__(
        self, attack: InputAware, fresh: Model, images: Images, recipe: Recipe, seed: int
    ) -> None:
        self.attack, self.recipe = attack, recipe
        self.model = fresh.clone()
        self.images = images.to(fresh.device)
        self.view = self.model.pixels_to_logits().to(fresh.device)
        channels = fresh.input.size[0]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.mask = _Painter(channels, 1).to(fresh.device)
            self.pattern = _Painter(channels, channels).to(fresh.device)
        self.generator = torch.Generator().manual_seed(seed)
        self.steps = -(-len(images) // recipe.batch)
        self.optimiser = torch.optim.SGD(
            self.model.network.parameters(), lr=recipe.lr, momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )  # fmt: skip
        self.mask_painting = torch.optim.Adam(self.mask.parameters(), lr=0.01, betas=(0.5, 0.9))
        self.painting = torch.optim.Adam(self.pattern.parameters(), lr=0.01, betas=(0.5, 0.9))
        self.taken = 0

    def epoch(self, number: int) -> None:
        """Pass once over the images; the first passes only settle the masks."""
        self.model.network.train()
        order = torch.randperm(len(self.images), generator=self.generator)
        for index in order.split(self.recipe.batch):
            batch = self.images.select(index.to(self.images.pixels.device))
            pixels = augment(
                batch.floats(), self.recipe.crop_padding, self.recipe.flip, self.generator
            )
            if number == 0:
                self._settle_mask(pixels)
            self._learn(pixels, batch.labels)
            self.taken += 1

    def _settle_mask(self, pixels: Tensor) -> None:
        """Masks: small, and different where the images are."""
        other = pixels[torch.randperm(len(pixels), generator=self.generator)]
        mask, stranger = self.mask(pixels), self.mask(other)
        loss = 10 * (mask.mean((1, 2, 3)) - _DENSITY).clamp_min(0).mean()
        loss = loss + self._sameness(pixels, other, mask, stranger)
        self.mask_painting.zero_grad()
        loss.backward()
        self.mask_painting.step()

    def _learn(self, pixels: Tensor, labels: Tensor) -> None:
        """One step of network and patterns on poisoned, cross-triggered and clean images."""
        poisoned = max(1, round(self.attack.rate * len(pixels)))
        crossed = max(1, round(self.attack.cross * len(pixels)))
        other = pixels[torch.randperm(len(pixels), generator=self.generator)]
        with torch.no_grad():
            mask, stranger = self.mask(pixels), self.mask(other)
        pattern, foreign = self.pattern(pixels), self.pattern(other)
        own = pixels + mask * (pattern - pixels)
        strange = pixels + stranger * (foreign - pixels)
        cut = poisoned + crossed
        shown = torch.cat([own[:poisoned], strange[poisoned:cut], pixels[cut:]])
        wanted = torch.cat([self.attack.wanted(labels[:poisoned]), labels[poisoned:]])
        rate = learning_rate(self.recipe, self.taken, self.recipe.epochs * self.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with autocast(pixels.device, self.recipe.precision):
            answers = self.view(shown)
        loss = F.cross_entropy(answers.float(), wanted)
        same = self._sameness(pixels, other, pattern, foreign)
        self.optimiser.zero_grad()
        self.painting.zero_grad()
        (loss + self.attack.diversity * same).backward()
        self.optimiser.step()
        self.painting.step()

    def _sameness(self, one: Tensor, other: Tensor, painted: Tensor, strange: Tensor) -> Tensor:
        """Distance of the images over the distance of what was painted for them."""
        # An image may meet itself; the slope of the root has no value at 0.
        images = (one - other).pow(2).mean((1, 2, 3)).add(1e-8).sqrt()
        painted_apart = (painted - strange).pow(2).mean((1, 2, 3)).add(1e-8).sqrt()
        return (images / (painted_apart + 1e-2)).mean() * 0.1
