"""Recovers triggers from a network: the smallest mask and pattern that force each class.

For each class t: minimise CE(f((1 - m) x + m p), t) + lambda ||m||_1 over a mask m in [0, 1]^(HxW)
and a pattern p in [0, 1]^(CxHxW), lambda adapted so that enough images obey (Wang et al., Neural
Cleanse, IEEE S&P 2019). All classes are one batch. A large enough trigger forces any network: the
success of a trigger says nothing without its area.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gatekeeper.allocation import hold_freed_memory
from gatekeeper.effort import too_long
from gatekeeper.mask_search import TRIED_AT_ONCE, Best, MaskSearch, Pace, blend, chosen
from gatekeeper.model import Images, Model
from gatekeeper.triggers import Trigger, aims, still

_LEARNING_RATE = 0.2  # of the unbounded parameters behind mask and pattern
_PER_STEP = 24  # images per class and step
SAMPLE = 192  # images that a trigger is fitted on
_AT_ONCE = 64  # classes, so that memory grows with their number by what is kept alone
STEPS = 150
_PATIENCE = 20.0  # times what another search may take: without triggers little can be said
# Beyond so many classes a shorter search looks at all, and a whole one at those that are smallest
# or were not reached.
_MANY, _COARSER, _FOLLOWED = 100, 5, 48
OnClasses = Callable[[int, int], None]


def invert(
    model: Model,
    images: Images,
    *,
    seed: int,
    steps: int = STEPS,
    sample: int = SAMPLE,
    success: float = 0.9,
    classes: Sequence[int] | None = None,
    on_classes: OnClasses | None = None,
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
        on_classes: hears, where there are many classes, how many of how many were looked at.

    Raises:
        StepError: the GPU has no room for it.
    """
    hold_freed_memory()
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(images), generator=generator)[:sample]
    fitted = images.select(order.to(images.pixels.device)).to(model.device)
    targets = list(range(len(model.classes))) if classes is None else list(classes)
    with still(model) as view:
        search = _Inversion(view=view, images=fitted, success=success, generator=generator)
        if len(targets) <= _MANY:
            return search.careful(targets, steps)
        coarse = search.coarse(targets, steps // _COARSER, on_classes)
        by_size = sorted(coarse, key=lambda trigger: (trigger.reached, trigger.area))
        careful = search.careful([trigger.target for trigger in by_size[:_FOLLOWED]], steps)
    better = {trigger.target: trigger for trigger in careful if trigger.reached}
    return [better.get(trigger.target, trigger) for trigger in coarse]


def untried(model: Model, steps: int = STEPS) -> str | None:
    """Say why triggers are not sought in such a network here; None where they are."""
    count = len(model.classes)
    taken = count * steps
    if count > _MANY:
        taken = count * (steps // _COARSER) + _FOLLOWED * steps
    return too_long(model, taken * _PER_STEP, share=_PATIENCE)


def unfitted(images: Images, seed: int) -> Images:
    """Give the images that `invert` with this seed fits no trigger on."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return images.select(order[SAMPLE:].sort().values.to(images.pixels.device))


@dataclass(frozen=True, kw_only=True)
class _Inversion:
    """What every search for the triggers of a network shares; classes are taken in groups."""

    view: nn.Module
    images: Images
    success: float
    generator: torch.Generator

    def coarse(self, targets: list[int], steps: int, on_classes: OnClasses | None) -> list[Trigger]:
        """Search once, and tell after each group how far it is."""
        found: list[Trigger] = []
        for group in _groups(targets):
            found += self._search(group, steps, 1.0)
            if on_classes is not None:
                on_classes(len(found), len(targets))
        return found

    def careful(self, targets: list[int], steps: int) -> list[Trigger]:
        """Search, and once more for the classes that were not reached."""
        return [found for group in _groups(targets) for found in self._twice(group, steps)]

    def _twice(self, targets: list[int], steps: int) -> list[Trigger]:
        found = self._search(targets, steps, 1.0)
        missed = [trigger.target for trigger in found if not trigger.reached]
        if not missed:
            return found
        # Longer, and with masks that cost next to nothing at first.
        again = self._search(missed, 2 * steps, 0.01)
        better = {trigger.target: trigger for trigger in again if trigger.reached}
        return [better.get(trigger.target, trigger) for trigger in found]

    def _search(self, targets: list[int], steps: int, price: float) -> list[Trigger]:
        search = _Search(self.view, self.images, targets, self.success, self.generator, price)
        for step in range(steps):
            search.step(step / steps)
            if step % 10 == 9 or step == steps - 1:
                search.best.consider()
        search.best.sharpen()
        return search.triggers()


def _groups(targets: list[int]) -> list[list[int]]:
    return [targets[place : place + _AT_ONCE] for place in range(0, len(targets), _AT_ONCE)]


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
