"""What `auto` may try: methods and their strengths, as they fit a network and its clean images."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cache

from torch import nn

from gatekeeper.model import Images, Model
from gatekeeper.purification.feature_shift import FeatureShift
from gatekeeper.purification.few_images import seek_marks
from gatekeeper.purification.ft_sam import FTSAM
from gatekeeper.purification.interface import Purifier
from gatekeeper.purification.marks import find_marks
from gatekeeper.purification.memory import Memory
from gatekeeper.purification.restoration import Restoration
from gatekeeper.purification.super_fine_tune import SuperFineTune
from gatekeeper.purification.taught_masking import TaughtMasking
from gatekeeper.purification.tuning import Tuning
from gatekeeper.purification.unlearning import Unlearning
from gatekeeper.purification.weight_masking import WeightMasking
from gatekeeper.training import BatchNorm
from gatekeeper.views import MIRRORED, knows

FEW = 4  # images of a class; with fewer, none is kept to choose by; tuning on fewer forgets it
_STEPS, _LEAST_EPOCHS, _MOST_EPOCHS = 150, 30, 100  # optimiser steps of an attempt, at least

# Times the epochs of an attempt, once it is known what to tune by: clean accuracy depends less on
# chance then. An attempt is shorter, since there are many.
_LONGER = 1.6

# Learning rate, radius, and how many times as long the way back to the candidate's accuracy is;
# strongest first. It is not the first choice, since what the gate does not see may come back too.
# Weights before BatchNorm are scale-free: the paper's radius holds, and hot steps do.
_NORMALISED = (
    (0.1, 4.0, 0.0),
    (0.1, 2.0, 0.0),
    (0.1, 2.0, 2.0),
    (0.05, 2.0, 2.0),
    (0.05, 1.0, 2.0),
    (0.05, 0.5, 2.0),
    (0.02, 0.5, 2.0),
)
# Learning rate, radius and weight of the countered perturbation.
_COUNTERS = ((0.05, 1.0, 1.0), (0.05, 0.5, 1.0), (0.05, 0.2, 1.0), (0.05, 0.0, 0.5))
# Weight of the bare images, and AWM's bound of its perturbation.
_TAUGHT = ((0.5, 1000.0), (0.7, 300.0), (0.9, 300.0))
# Without BatchNorm the same step may end at chance, or cost nothing: from the middle, upwards.
# Weights that clean images hardly use feel no step, but for their decay, the fourth number; and a
# trigger that lives there has to be countered.
_BARE_COUNTERING = ((0.1, 0.5, 2.0), (0.03, 0.2, 2.0))
_BARE = (
    (0.1, 2.0, 0.0, 2e-2),
    (0.1, 2.0, 0.0, 1e-2),
    (0.1, 2.0, 0.0, 5e-3),
    (0.1, 0.5, 0.0, 5e-3),
    (0.1, 0.5, 0.0),
    (0.03, 0.2, 0.0),
    (0.01, 0.1, 0.0),
    (0.01, 0.1, 2.0),
    (0.003, 0.05, 2.0),
    (0.001, 0.05, 2.0),
)
_BARE_START = 5


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """One method in several strengths, the strongest first; `start` is where a search begins.

    `bold`: what a step does to such a network is not known beforehand, so stronger ones are tried
    as long as they cost nothing.
    """

    rungs: tuple[Purifier, ...]
    start: int = 0
    bold: bool = False

    @property
    def method(self) -> str:
        """What all its rungs are."""
        return self.rungs[0].method

    def beyond(self, place: int) -> int:
        """Give the next place with another step: where one diverged, it would once more."""
        step, later = _step(self.rungs[place]), place + 1
        while step is not None and later < len(self.rungs) and _step(self.rungs[later]) == step:
            later += 1
        return later


def handful(images: Images) -> bool:
    """Tell whether the images are too few in all; a class that is rare among many is no reason."""
    return len(images) < FEW * len(images.classes)


def plan(model: Model, clean: Images, *, seed: int) -> tuple[Ladder, ...]:
    """Give the ladders in the order in which they should be climbed.

    `clean` is what is tuned on. Where a class has fewer than 4 images there, only masks that the
    candidate teaches are safe: what is learnt from labels forgets that class, and hardly an image
    shows it. Otherwise FT-SAM comes first, from the hottest step that the literature found
    harmless, and with the way back where that costs accuracy; then methods of another kind, those
    that cost least first. `seed` is that of the search for the candidate's marks.
    """
    scarce = int(clean.labels.bincount(minlength=len(clean.classes)).min()) < FEW
    flip = knows(model, clean, MIRRORED)  # then mirrored images serve as more images
    if scarce:
        return (_taught(model, clean, seed=seed),)
    tuned = (*_sharpness(model, clean, flip=flip, seed=seed), _counters(model, clean, flip=flip))
    return (*tuned, _masks(len(clean), flip=flip), *_others(model, clean, flip=flip))


def _sharpness(model: Model, clean: Images, *, flip: bool, seed: int) -> tuple[Ladder, ...]:
    batch, epochs = _batch(len(clean)), _epochs(len(clean))
    normalised = has_batch_norm(model.network)
    seek = cache(lambda: find_marks(model, clean, seed=seed))
    memory = Memory()

    def rung(lr: float, rho: float, times: float, decay: float = 5e-4) -> Purifier:
        hot = FTSAM(
            lr=lr, rho=rho, epochs=epochs, batch=batch, schedule="cosine", label_smoothing=0.0,
            weight_decay=decay,
            crop_padding=model.input.size[1] // 16, flip=flip, clip=0.0 if normalised else 1.0,
            memory=memory,
        )  # fmt: skip
        if not times:
            return hot
        shared = {setting.name: getattr(hot, setting.name) for setting in fields(hot)}
        return Restoration(**shared, restore_lr=lr, restore_epochs=round(times * epochs), seek=seek)

    if normalised:
        return (Ladder(rungs=tuple(rung(*step) for step in _NORMALISED), start=1),)
    return (
        Ladder(rungs=tuple(rung(*step) for step in _BARE), start=_BARE_START, bold=True),
        Ladder(rungs=tuple(rung(*step) for step in _BARE_COUNTERING)),
    )


def _counters(model: Model, clean: Images, *, flip: bool) -> Ladder:
    """Where flatness alone costs too much: a trigger over the whole image is best countered."""
    normalised = has_batch_norm(model.network)
    rungs = tuple(
        Unlearning(
            lr=lr if normalised else 0.1 * lr, rho=rho if normalised else 0.2 * rho,
            counter=counter, epochs=2 * _epochs(len(clean)), batch=_batch(len(clean)),
            crop_padding=model.input.size[1] // 16, flip=flip, clip=0.0 if normalised else 1.0,
        )
        for lr, rho, counter in _COUNTERS
    )  # fmt: skip
    return Ladder(rungs=rungs)


def _taught(model: Model, clean: Images, *, seed: int) -> Ladder:
    seek = cache(lambda: seek_marks(model, clean, seed=seed))
    rungs = tuple(TaughtMasking(keep=keep, tau=tau, seek=seek) for keep, tau in _TAUGHT)
    return Ladder(rungs=rungs, start=1)


def _masks(images: int, *, flip: bool) -> Ladder:
    if images < 100:
        rungs = tuple(
            replace(WeightMasking.one_shot(tau=tau), flip=flip) for tau in (300.0, 100.0, 30.0)
        )
        return Ladder(rungs=rungs, start=1)
    return Ladder(rungs=(WeightMasking(), WeightMasking(alpha=0.99)))


def _others(model: Model, clean: Images, *, flip: bool) -> tuple[Ladder, ...]:
    batch, epochs = _batch(len(clean)), _epochs(len(clean))
    scale = 1.0 if has_batch_norm(model.network) else 0.01
    padding = model.input.size[1] // 16
    shift = FeatureShift(
        lr=0.05 * scale, epochs=epochs, batch=batch, crop_padding=padding, flip=flip
    )
    swing = SuperFineTune(
        lr_base=3e-4 * scale, lr_forget=2.5 * scale, lr_recover=0.05 * scale, batch=batch,
        crop_padding=padding, flip=flip,
    )  # fmt: skip
    return Ladder(rungs=(shift,)), Ladder(rungs=(swing,))


def for_good(purify: Purifier, images: int) -> Purifier | None:
    """Give the setting by which the kept network is tuned on all `images`; None for masks.

    Those are learnt from a sample, so that more images change little.
    """
    if not isinstance(purify, Tuning):
        return None
    return purify.longer(_LONGER, _batch(images))


def _step(rung: Purifier) -> tuple[float, float] | None:
    """Give learning rate and radius; None where a method has no such step."""
    return (rung.lr, rung.rho) if isinstance(rung, FTSAM) else None


def has_batch_norm(network: nn.Module) -> bool:
    """Tell whether any BatchNorm follows the weights."""
    return any(isinstance(module, BatchNorm) for module in network.modules())


def _batch(images: int) -> int:
    """Equal batches of at most 128 images, four in an epoch where each has eight."""
    batches = max(-(-images // 128), min(4, images // 8), 1)
    return -(-images // batches)


def _epochs(images: int) -> int:
    needed = -(-_STEPS * _batch(images) // max(images, 1))
    return min(max(_LEAST_EPOCHS, needed), _MOST_EPOCHS)
