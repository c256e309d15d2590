"""Recovers triggers from a network: the smallest mask and pattern that force each class.

For each class t: minimise CE(f((1 - m) x + m p), t) + lambda ||m||_1 over a mask m in [0, 1]^(HxW)
and a pattern p in [0, 1]^(CxHxW), lambda adapted so that enough images obey (Wang et al., Neural
Cleanse, IEEE S&P 2019). All classes are one batch. A large enough trigger forces any network: the
success of a trigger says nothing without its area.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatekeeper.allocation import hold_freed_memory
from gatekeeper.errors import StepError
from gatekeeper.model import Images, Model
from gatekeeper.precision import autocast

_LEARNING_RATE = 0.2  # of the unbounded parameters behind mask and pattern
_PER_STEP = 24  # images per class and step
# Values of all images in one pass, so that memory grows with neither classes nor resolution.
LEARNT_AT_ONCE = 32 * 3 * 224 * 224
_TRIED_AT_ONCE = 5 * LEARNT_AT_ONCE


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """A mask (H, W) and a pattern (C, H, W), both in [0, 1] on the CPU, that force `target`.

    `area` is the share of the image that changes (mean of the mask), `success` the share of the
    images it was fitted on that obey; where no mask did it, `reached` is False.
    """

    target: int
    mask: Tensor
    pattern: Tensor
    area: float
    success: float
    reached: bool


def invert(
    model: Model,
    images: Images,
    *,
    seed: int,
    steps: int = 150,
    sample: int = 192,
    success: float = 0.9,
    classes: Sequence[int] | None = None,
) -> list[Trigger]:
    """Recover for each class the smallest trigger that `success` of a sample obey.

    Args:
        model: the network; its weights and mode are left alone.
        images: clean images; `sample` of them are drawn by `seed`.
        seed: of the sample, the starts and the order.
        steps: of Adam.
        sample: images that a trigger must convince, without those of its own class; with fewer, it
            works on others less often.
        success: share in [0, 1] of them that must obey.
        classes: targets; all where left out.

    Raises:
        StepError: the GPU has no room for it.
    """
    hold_freed_memory()
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(images), generator=generator)[:sample]
    fitted = images.select(chosen.to(images.pixels.device)).to(model.device)
    targets = list(range(len(model.classes))) if classes is None else list(classes)
    try:
        with still(model) as view:
            return _found(view, fitted, targets, success, generator, steps)
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        message = "the GPU has no room to search for triggers"
        raise StepError(message, hint="Use a GPU with more memory, or --device cpu.") from None


def _found(
    view: nn.Module,
    images: Images,
    targets: list[int],
    success: float,
    generator: torch.Generator,
    steps: int,
) -> list[Trigger]:
    found = _search(view, images, targets, success, generator, steps=steps, price=1.0)
    missed = [trigger.target for trigger in found if not trigger.reached]
    if not missed:
        return found
    # Once more, longer, and with masks that cost next to nothing at first.
    again = _search(view, images, missed, success, generator, steps=2 * steps, price=0.01)
    better = {trigger.target: trigger for trigger in again if trigger.reached}
    return [better.get(trigger.target, trigger) for trigger in found]


def _search(
    view: nn.Module,
    images: Images,
    targets: list[int],
    success: float,
    generator: torch.Generator,
    *,
    steps: int,
    price: float,
) -> list[Trigger]:
    search = _Search(view, images, targets, success, generator, price)
    for step in range(steps):
        search.step(step / steps)
        if step % 10 == 9 or step == steps - 1:
            search.keep_best()
    search.sharpen()
    return search.triggers()


class _Search:
    """The state of one inversion: K masks and patterns behind unbounded parameters."""

    def __init__(
        self,
        view: nn.Module,
        images: Images,
        targets: list[int],
        success: float,
        generator: torch.Generator,
        price: float,
    ) -> None:
        self.view = view
        self.pixels = images.floats()  # (N, C, H, W)
        self.labels = images.labels
        self.targets = torch.tensor(targets, device=self.pixels.device)
        self.success = success
        self.generator = generator
        channels, height, width = self.pixels.shape[1:]
        count = len(targets)
        start = torch.randn(count, 1, height, width, generator=generator) * 0.5 - 1
        paint = torch.randn(count, channels, height, width, generator=generator)
        self.mask_raw = start.to(self.pixels.device).requires_grad_()
        self.pattern_raw = paint.to(self.pixels.device).requires_grad_()
        self.price = torch.full((count,), price, device=self.pixels.device)  # lambda, per area
        self.obeying = torch.zeros(count, device=self.pixels.device)
        self.optimiser = torch.optim.Adam(
            [self.mask_raw, self.pattern_raw], lr=_LEARNING_RATE, betas=(0.5, 0.9)
        )
        self.best_area = torch.full((count,), float("inf"), device=self.pixels.device)
        self.best_success = torch.zeros(count, dtype=torch.float64, device=self.pixels.device)
        self.best_mask = self.mask_raw.detach().sigmoid()
        self.best_pattern = self.pattern_raw.detach().sigmoid()

    def step(self, progress: float) -> None:
        """Take one step of Adam on a few images, then let each class's lambda follow."""
        drawn = torch.randint(len(self.pixels), (_PER_STEP,), generator=self.generator)
        pixels = self.pixels[drawn.to(self.pixels.device)]
        self.optimiser.zero_grad()
        obeyed = torch.cat([self._learn(k, pixels) for k in self._groups(pixels, LEARNT_AT_ONCE)])
        self.optimiser.param_groups[0]["lr"] = _LEARNING_RATE * (1 - 0.8 * progress)
        self.optimiser.step()
        self.obeying = 0.7 * self.obeying + 0.3 * obeyed
        dear = self.obeying >= (1 + self.success) / 2
        cheap = self.obeying < self.success
        self.price = self.price * torch.where(dear, 1.15, torch.where(cheap, 1 / 1.2, 1.0))
        self.price.clamp_(0.01, 2000)

    def _learn(self, k: Tensor, pixels: Tensor) -> Tensor:
        """Add the gradients of classes `k` (K,); give the share (K,) of `pixels` that obey."""
        mask, pattern = self.mask_raw[k].sigmoid(), self.pattern_raw[k].sigmoid()
        with autocast(pixels.device, "auto"):
            answer = self.view(blend(pixels, mask, pattern))  # (K * n, classes)
        answer = answer.float()
        wanted = self.targets[k].repeat_interleave(len(pixels))
        error = F.cross_entropy(answer, wanted, reduction="none").view(len(k), -1).mean(1)
        (error + self.price[k] * mask.flatten(1).mean(1)).sum().backward()
        obeyed: Tensor = (answer.argmax(1) == wanted).float().view(len(k), -1).mean(1)
        return obeyed

    def _groups(self, pixels: Tensor, values: int) -> list[Tensor]:
        """Cut the classes so that a pass over `pixels` for each holds at most so many values."""
        most = max(1, values // pixels.numel())
        return list(torch.arange(len(self.targets), device=pixels.device).split(most))

    def keep_best(self) -> None:
        """Remember, per class, the smallest mask that convinced enough of the whole sample."""
        self._consider(self.mask_raw.detach().sigmoid(), self.pattern_raw.detach().sigmoid())

    def sharpen(self) -> None:
        """Try the best masks without their faint parts, which inflate the area for nothing."""
        for faint in (0.05, 0.1, 0.2, 0.3):
            mask = torch.where(self.best_mask < faint, 0.0, self.best_mask)
            self._consider(mask, self.best_pattern.clone())

    def triggers(self) -> list[Trigger]:
        """Give what was found, on the CPU."""
        return [
            Trigger(
                target=int(target),
                mask=self.best_mask[k, 0].cpu(),
                pattern=self.best_pattern[k].cpu(),
                area=float(self.best_mask[k].mean()),
                success=float(self.best_success[k]),
                reached=bool(self.best_area[k].isfinite()),
            )
            for k, target in enumerate(self.targets)
        ]

    @torch.no_grad()
    def _consider(self, mask: Tensor, pattern: Tensor) -> None:
        obeyed = self._obeyed(mask, pattern)
        area = mask.flatten(1).mean(1)
        better = (obeyed >= self.success) & (area < self.best_area)
        # A class that was not reached yet shows its most convincing mask.
        better |= self.best_area.isinf() & (obeyed > self.best_success)
        better &= area.isfinite()  # a broken network breaks its masks too
        self.best_mask[better] = mask[better]
        self.best_pattern[better] = pattern[better]
        self.best_success[better] = obeyed[better]
        reached = better & (obeyed >= self.success)
        self.best_area[reached] = area[reached]

    def _obeyed(self, mask: Tensor, pattern: Tensor) -> Tensor:
        """(K,) share of the sample, each class's own images left out, that obey."""
        shares = []
        for k in self._groups(self.pixels, _TRIED_AT_ONCE):
            answer = self.view(blend(self.pixels, mask[k], pattern[k])).argmax(1)
            obeyed = answer.view(len(k), -1) == self.targets[k, None]
            others = self.labels[None, :] != self.targets[k, None]
            # Told as a number of Python, nine of ten in float32 would be less than 0.9.
            shares.append((obeyed & others).sum(1).double() / others.sum(1).clamp_min(1))
        return torch.cat(shares)


def stamp(trigger: Trigger, pixels: Tensor) -> Tensor:
    """(N, C, H, W) in [0, 1] -> the same images with the trigger."""
    mask = trigger.mask.to(pixels.device)
    return (1 - mask) * pixels + mask * trigger.pattern.to(pixels.device)


@torch.inference_mode()
def hits(model: Model, trigger: Trigger, images: Images, *, batch: int = 256) -> tuple[int, int]:
    """Count images of other classes that obey the trigger, and how many were shown."""
    others = images.select(images.labels != trigger.target)
    won = 0
    with still(model) as view:
        for index in torch.arange(len(others), device=others.pixels.device).split(batch):
            pixels = others.select(index).to(model.device).floats()
            won += int((view(stamp(trigger, pixels)).argmax(1) == trigger.target).sum())
    return won, len(others)


def blend(pixels: Tensor, mask: Tensor, pattern: Tensor) -> Tensor:
    """Every image with every trigger: (N, C, H, W), (K, 1, H, W), (K, C, H, W) -> (K * N, ...).

    Where the images are (K, N, C, H, W), each trigger has its own.
    """
    shown = pixels + mask[:, None] * (pattern[:, None] - pixels)  # (K, N, C, H, W)
    # Convolutions run faster where the channels of a pixel lie side by side.
    return shown.flatten(0, 1).contiguous(memory_format=torch.channels_last)


@contextmanager
def still(model: Model) -> Iterator[nn.Module]:
    """Look through the network in eval mode, its weights held; put both back."""
    view = model.pixels_to_logits().to(model.device)
    modes = [(module, module.training) for module in model.network.modules()]
    held = [(weight, weight.requires_grad) for weight in model.network.parameters()]
    try:
        view.eval()
        for weight, _ in held:
            weight.requires_grad_(False)
        yield view
    finally:
        for module, mode in modes:
            module.training = mode
        for weight, needed in held:
            weight.requires_grad_(needed)
