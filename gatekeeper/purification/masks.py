"""A soft mask in [0, 1] for every weight of a frozen network, and how masks are taught."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from gatekeeper.errors import StepError
from gatekeeper.model import Images, Model
from gatekeeper.network import layers
from gatekeeper.precision import autocast
from gatekeeper.purification.interface import OnEpoch
from gatekeeper.records import Epoch
from gatekeeper.training import Diverged

_Learnt = TypeVar("_Learnt")
_MOST_AT_ONCE = 256  # images in one pass
_REFERENCE_INPUTS = 3 * 32 * 32  # values of the images that tau was published for


class Masks:
    """The masks of a copy of `model`, all 1 at first, and the Adam that learns them by `lr`.

    Raises:
        StepError: the network has no convolution and no linear layer.
    """

    def __init__(self, model: Model, *, lr: float) -> None:
        """Freeze a copy of the network, in eval mode."""
        self.model = model.clone()
        self.view = self.model.pixels_to_logits().to(model.device).eval()
        self.weights = _masked_weights(self.model)
        self.masks = {name: torch.ones_like(w).requires_grad_() for name, w in self.weights.items()}
        self.optimiser = torch.optim.Adam(self.masks.values(), lr=lr)

    def answer(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N, classes) logits under the masks as they stand."""
        worn = {f"network.{name}": w * self.masks[name] for name, w in self.weights.items()}
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        with autocast(pixels.device, "auto"):
            answers: Tensor = functional_call(self.view, worn, (pixels,))
        return answers.float()

    def price(self) -> Tensor:
        """() sum of all masks."""
        return torch.stack([mask.abs().sum() for mask in self.masks.values()]).sum()

    def step(self, loss: Tensor) -> Tensor:
        """Descend once, keep the masks in [0, 1], and give the loss, detached."""
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        with torch.no_grad():
            for mask in self.masks.values():
                mask.clamp_(0, 1)
        return loss.detach()

    def learn(
        self,
        rounds: int,
        teach: Callable[[int], tuple[float, float]],
        *,
        validation: Images | None,
        on_epoch: OnEpoch | None,
    ) -> tuple[Epoch, ...]:
        """Let `teach` do each round (from 0), which gives loss and learning rate; tell of each.

        Raises:
            Diverged: the loss became NaN or infinite.
        """
        history = []
        for number in range(rounds):
            loss, rate = teach(number)
            if not math.isfinite(loss):
                message = f"the loss became {loss}"
                raise Diverged(message)
            seen = None if validation is None else self.accuracy(validation)
            line = Epoch(epoch=number + 1, loss=loss, learning_rate=rate, accuracy=seen)
            history.append(line)
            if on_epoch is not None:
                on_epoch(line)
        return tuple(history)

    @torch.no_grad()
    def accuracy(self, images: Images) -> float:
        """Share in [0, 1] of `images` that are right under the masks as they stand."""
        right = 0
        for index in torch.arange(len(images), device=images.pixels.device).split(_MOST_AT_ONCE):
            part = images.select(index).to(self.model.device)
            right += int((self.answer(part.floats()).argmax(1) == part.labels).sum())
        return right / max(1, len(images))

    @torch.no_grad()
    def fold(self) -> Model:
        """Give the network with every weight times its mask; ends the learning."""
        for name, weight in self.weights.items():
            weight.mul_(self.masks[name].detach())
        for weight in self.model.network.parameters():
            weight.requires_grad_(True)
        return self.model


def with_room(learn: Callable[[int], _Learnt], batch: int) -> _Learnt:
    """Learn on batches of `batch`; where a GPU is out of memory, once more on half of it.

    Raises:
        StepError: there is no room for that either.
    """
    for images in (batch, max(1, batch // 2)):
        with suppress(torch.cuda.OutOfMemoryError):
            return learn(images)
        torch.cuda.empty_cache()  # out of the handler, which would hold what the attempt held
    message = f"the GPU has no room to learn masks on batches of {max(1, batch // 2)}"
    raise StepError(message, hint="Use a GPU with more memory, or --device cpu.")


def bound_l1(change: Tensor, tau: float) -> Tensor:
    """(1, C, H, W) -> the same, its L1 norm at most `tau` for 3x32x32 values, else by their number.

    AWM bounds its perturbation so, once it has climbed.
    """
    bound = tau * change.numel() / _REFERENCE_INPUTS
    return change * (bound / change.abs().sum().clamp_min(1e-12)).clamp_max(1.0)


def _masked_weights(model: Model) -> dict[str, Tensor]:
    """Weights of convolutions and linear layers by their full name, frozen."""
    for weight in model.network.parameters():
        weight.requires_grad_(False)
    named: dict[nn.Module, str] = {module: name for name, module in model.network.named_modules()}
    found = {}
    for layer in layers(model):
        full = f"{named[layer.module]}.{layer.parameter}".removeprefix(".")
        found[full] = layer.module.get_parameter(layer.parameter).data
    if not found:
        message = f"{model.architecture} has no convolution and no linear layer"
        raise StepError(message, hint="Use --purify ft-sam.")
    return found
