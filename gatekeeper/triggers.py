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
from gatekeeper.mask_search import TRIED_AT_ONCE, Best, Judge, MaskSearch, Pace, blend, chosen
from gatekeeper.model import Images, Model

_LEARNING_RATE = 0.2  # of the unbounded parameters behind mask and pattern
_PER_STEP = 24  # images per class and step
SAMPLE = 192  # images that a trigger is fitted on
_AT_ONCE = 64  # classes, so that memory grows with their number by what is kept alone


ANYWHERE = -1  # the target of a trigger that has none


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """A mask (H, W) and a pattern (C, H, W), both in [0, 1] on the CPU, that force `target`.

    With a `source` it is about images of that class alone; with the target `ANYWHERE` it makes
    images leave their class, wherever they go. `area` is the share of the image that changes (mean
    of the mask), `success` the share of the images it was fitted on that obey; where no mask did
    it, `reached` is False.
    """

    target: int
    mask: Tensor
    pattern: Tensor
    area: float
    success: float
    reached: bool
    source: int | None = None


def invert(
    model: Model,
    images: Images,
    *,
    seed: int,
    steps: int = 150,
    sample: int = SAMPLE,
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
    order = torch.randperm(len(images), generator=generator)[:sample]
    fitted = images.select(order.to(images.pixels.device)).to(model.device)
    targets = list(range(len(model.classes))) if classes is None else list(classes)
    with still(model) as view:
        found: list[Trigger] = []
        for place in range(0, len(targets), _AT_ONCE):
            group = targets[place : place + _AT_ONCE]
            found += _found(view, fitted, group, success, generator, steps)
    return found


def unfitted(images: Images, seed: int) -> Images:
    """Give the images that `invert` with this seed fits no trigger on."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return images.select(order[SAMPLE:].sort().values.to(images.pixels.device))


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
            search.best.consider()
    search.best.sharpen()
    return search.triggers()


class _Search:
    """One inversion: a mask and a pattern for each target, and the best of them so far."""

    def __init__(
        self,
        view: nn.Module,
        images: Images,
        targets: list[int],
        success: float,
        generator: torch.Generator,
        price: float,
    ) -> None:
        self.view, self.generator = view, generator
        self.pixels = images.floats()  # (N, C, H, W)
        self.labels = images.labels
        device, count = self.pixels.device, len(targets)
        self.targets = torch.tensor(targets, device=device)
        pace = Pace(
            lr=_LEARNING_RATE, slowing=0.8, wanted=success, plenty=(1 + success) / 2,
            cheaper=1 / 1.2, dearer=1.15, memory=0.7,
        )  # fmt: skip
        channels, height, width = self.pixels.shape[1:]
        self.learning = MaskSearch(
            view, count, (channels, height, width), generator, pace, price=price, device=device
        )
        self.best = Best(self.learning, success, self._obeyed)

    def step(self, progress: float) -> None:
        """Take one step on a few images, the same for all targets."""
        drawn = torch.randint(len(self.pixels), (_PER_STEP,), generator=self.generator)
        pixels = self.pixels[drawn.to(self.pixels.device)]
        self.learning.step(lambda _: pixels, aims(self.targets), progress=progress)

    def triggers(self) -> list[Trigger]:
        """Give what was found, on the CPU."""
        return [
            Trigger(
                target=int(target),
                mask=self.best.mask[k, 0].cpu(),
                pattern=self.best.pattern[k].cpu(),
                area=float(self.best.mask[k].mean()),
                success=float(self.best.share[k]),
                reached=bool(self.best.area[k].isfinite()),
            )
            for k, target in enumerate(self.targets)
        ]

    def _obeyed(self, mask: Tensor, pattern: Tensor) -> Tensor:
        """(K,) share of the sample, each class's own images left out, that obey."""
        shares = []
        every = torch.arange(len(self.targets), device=self.pixels.device)
        for k in every.split(max(1, TRIED_AT_ONCE // self.pixels.numel())):
            answer = chosen(self.view(blend(self.pixels, mask[k], pattern[k])))
            obeyed = answer.view(len(k), -1) == self.targets[k, None]
            others = self.labels[None, :] != self.targets[k, None]
            # Told as a number of Python, nine of ten in float32 would be less than 0.9.
            shares.append((obeyed & others).sum(1).double() / others.sum(1).clamp_min(1))
        return torch.cat(shares)


def aims(targets: Tensor) -> Judge:
    """Judge answers by how far each mask's images are from its target, one of `targets` (K,)."""

    def judge(answer: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        wanted = targets[k].repeat_interleave(answer.shape[1])
        error = F.cross_entropy(answer.flatten(0, 1), wanted, reduction="none")
        obeyed: Tensor = (answer.argmax(2) == targets[k, None]).float().mean(1)
        return error.view(len(k), -1).mean(1), obeyed

    return judge


def stamp(trigger: Trigger, pixels: Tensor) -> Tensor:
    """(N, C, H, W) in [0, 1] -> the same images with the trigger."""
    mask = trigger.mask.to(pixels.device)
    return (1 - mask) * pixels + mask * trigger.pattern.to(pixels.device)


@torch.inference_mode()
def hits(model: Model, trigger: Trigger, images: Images, *, batch: int = 256) -> tuple[int, int]:
    """Count images that obey the trigger, and how many were shown.

    Shown are those of its source, or of all classes but its target.
    """
    shown = images.labels != trigger.target
    if trigger.source is not None:
        shown = images.labels == trigger.source
    others = images.select(shown)
    won = 0
    with still(model) as view:
        for index in torch.arange(len(others), device=others.pixels.device).split(batch):
            pixels = others.select(index).to(model.device).floats()
            answer = chosen(view(stamp(trigger, pixels)))
            if trigger.target == ANYWHERE:
                won += int(((answer != chosen(view(pixels))) & (answer >= 0)).sum())
            else:
                won += int((answer == trigger.target).sum())
    return won, len(others)


@contextmanager
def still(model: Model) -> Iterator[nn.Module]:
    """Look through the network in eval mode, its weights held; put both back.

    Raises:
        StepError: the GPU has no room for what is done meanwhile.
    """
    view = model.pixels_to_logits().to(model.device)
    modes = [(module, module.training) for module in model.network.modules()]
    held = [(weight, weight.requires_grad) for weight in model.network.parameters()]
    try:
        view.eval()
        for weight, _ in held:
            weight.requires_grad_(False)
        yield view
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        message = "the GPU has no room to search the network"
        raise StepError(message, hint="Use a GPU with more memory, or --device cpu.") from None
    finally:
        for module, mode in modes:
            module.training = mode
        for weight, needed in held:
            weight.requires_grad_(needed)
