"""Masks over the weights, taught by the candidate on variations of a handful of clean images.

AWM (Chai and Chen, NeurIPS 2022) learns its masks from labels; with one image of each class they
fit these images and forget the rest. Here the candidate's own answers are what the masks keep, on
variations without end (`variations.py`), and they must give the same answers where a change that
misleads the masked network as it stands is laid over the image: one that sends every image
elsewhere, as in AWM, one for each class that sends images there, and what the gate found to force
the candidate. A mask can only weaken a weight, so little new can be learnt, and little is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from gatekeeper.model import Images, Model
from gatekeeper.precision import autocast
from gatekeeper.purification.few_images import seek_marks
from gatekeeper.purification.marks import Marks
from gatekeeper.purification.masking import Lesson, Masking
from gatekeeper.purification.masks import Masks, bound_l1
from gatekeeper.records import Setting
from gatekeeper.triggers import Trigger
from gatekeeper.variations import vary

_MOST_CLASSES = 50  # that a change is kept for, drawn by chance where there are more
_MOST_DIRECTIONS = 8  # classes whose change climbs in one step, so that each sees some images
_CLIMB = 0.25  # of `reach`, in each step
_DIRECTED, _ASTRAY = 0.5, 0.25  # shares of the images under a class's change, and under AWM's


@dataclass(frozen=True, kw_only=True)
class TaughtMasking(Masking):
    """Settings. `keep` is the weight of the bare images; 1 - `keep` that of the misled ones.

    `tau` bounds AWM's perturbation, for 3x32x32 values, and grows with their number; `reach` those
    of the classes, in pixel values. `seek` gives the candidate's marks, so that many attempts seek
    once; where left out, they are sought on variations of the clean images. `countered` are
    triggers beside these, such as an earlier attempt left.
    """

    method: ClassVar[str] = "awm-taught"

    rounds: int = 60
    steps: int = 20  # of the masks, in a round
    ascents: int = 10  # of AWM's perturbation, in a round
    keep: float = 0.7
    tau: float = 300.0
    ascent: float = 10.0  # step of AWM's perturbation
    reach: float = 8 / 255
    lr: float = 0.01  # of Adam, on the masks; falls to 0 along a cosine
    batch: int = 64
    seek: Callable[[], Marks] | None = field(default=None, repr=False, compare=False)
    countered: tuple[Trigger, ...] = field(default=(), repr=False, compare=False)

    def against(self, triggers: tuple[Trigger, ...]) -> Self:
        """Give the same, which counters `triggers`, too."""
        return replace(self, countered=(*self.countered, *triggers))

    def lesson(self, model: Model, clean: Images, seed: int) -> Lesson:
        """Teach by the candidate's answers; the labels are not used."""
        return _Teaching(self, model, clean, seed)

    def settings_told(self) -> dict[str, Setting]:
        """Give the settings that can be told."""
        told = {name: value for name, value in vars(self).items() if name != "seek"}
        return {**told, "countered": len(self.countered)}


class _Teaching:
    """The masks, what misleads them as they stand, and the candidate that knows better."""

    def __init__(self, settings: TaughtMasking, model: Model, clean: Images, seed: int) -> None:
        self.settings = settings
        self.masks = Masks(model, lr=settings.lr)
        self.teacher = model.clone().pixels_to_logits().to(model.device).eval()
        self.generator = torch.Generator().manual_seed(seed)
        self.pixels = clean.to(model.device).pixels
        marks = settings.seek() if settings.seek else seek_marks(model, clean, seed=seed)
        self.marks = replace(marks, triggers=(*marks.triggers, *settings.countered))
        order = torch.randperm(len(model.classes), generator=self.generator)
        self.classes = order[:_MOST_CLASSES].to(model.device)
        shape = len(self.classes), *self.pixels.shape[1:]
        self.directed = torch.zeros(shape, device=model.device)

    def round(self, number: int) -> tuple[float, float]:
        """Raise AWM's perturbation, then teach the masks; give the mean loss and its rate."""
        settings = self.settings
        rate = settings.lr * (1 + math.cos(math.pi * number / settings.rounds)) / 2
        for group in self.masks.optimiser.param_groups:
            group["lr"] = rate
        astray = self._astray()
        losses = [self._step(astray) for _ in range(settings.steps)]
        return float(torch.stack(losses).mean()), rate

    def settings_told(self) -> dict[str, Setting]:
        """Give the settings, and how many marks are countered."""
        return {**self.settings.settings_told(), "marks": len(self.marks)}

    def _step(self, astray: Tensor) -> Tensor:
        pixels, taught = self._drawn()
        misled = self._misled(pixels, taught.argmax(1), astray)
        answers = self.masks.answer(torch.cat([pixels, misled]))
        bare, moved = F.cross_entropy(
            answers, torch.cat([taught, taught]), reduction="none"
        ).chunk(2)  # fmt: skip
        keep = self.settings.keep
        return self.masks.step(keep * bare.mean() + (1 - keep) * moved.mean())

    def _drawn(self) -> tuple[Tensor, Tensor]:
        """(N, C, H, W) variations, and (N, classes) what the candidate answers on them."""
        pixels = vary(self.pixels, self.settings.batch, self.generator)
        with torch.no_grad(), autocast(pixels.device, "auto"):
            taught = self.teacher(pixels.contiguous(memory_format=torch.channels_last))
        return pixels, taught.float().softmax(dim=1)

    def _astray(self) -> Tensor:
        """(1, C, H, W): from zero, ascend what the candidate answers, then bound it, as in AWM."""
        change = torch.zeros_like(self.pixels[:1], dtype=torch.float32)
        for _ in range(self.settings.ascents):
            pixels, taught = self._drawn()
            change.requires_grad_()
            loss = F.cross_entropy(self.masks.answer(pixels + change), taught.argmax(1))
            (slope,) = torch.autograd.grad(loss, change)
            change = change.detach() + self.settings.ascent * slope
        return bound_l1(change, self.settings.tau)

    def _misled(self, pixels: Tensor, own: Tensor, astray: Tensor) -> Tensor:
        """Lay over the images what misleads; of those that are due a mark, half stay bare."""
        which = self._climbed(pixels)
        kind = torch.rand(len(pixels), generator=self.generator).to(pixels.device)
        there = (kind < _DIRECTED) & (self.classes[which] != own)
        marked = (kind >= _DIRECTED + _ASTRAY) & (len(self.marks) > 0)
        change = torch.where(there.view(-1, 1, 1, 1), self.directed[which], astray)
        misled = (pixels + change).clamp(0, 1)
        misled[marked] = self.marks.worn(pixels[marked], self.generator)
        return misled

    def _climbed(self, pixels: Tensor) -> Tensor:
        """Let a few changes climb towards their classes; give (N,) which one each image is due."""
        few = torch.randperm(len(self.directed), generator=self.generator)[:_MOST_DIRECTIONS]
        which = few[torch.randint(len(few), (len(pixels),), generator=self.generator)]
        which = which.to(pixels.device)
        change = self.directed[which].requires_grad_()
        answers = self.masks.answer((pixels + change).clamp(0, 1))
        loss = F.cross_entropy(answers, self.classes[which], reduction="sum")
        (slope,) = torch.autograd.grad(loss, change)
        # A product adds in the same order on every run, where CUDA's index_add_ does not.
        due = F.one_hot(which, len(self.directed)).to(slope.dtype)
        total = torch.einsum("nk,nchw->kchw", due, slope)
        reach = self.settings.reach
        self.directed = (self.directed - _CLIMB * reach * total.sign()).clamp(-reach, reach)
        return which
