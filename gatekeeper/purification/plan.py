"""What `auto` may try: methods and their strengths, as they fit a network and its clean images."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from gatekeeper.model import Images, Model
from gatekeeper.purification.feature_shift import FeatureShift
from gatekeeper.purification.ft_sam import FTSAM
from gatekeeper.purification.interface import Purifier
from gatekeeper.purification.super_fine_tune import SuperFineTune
from gatekeeper.purification.weight_masking import WeightMasking
from gatekeeper.training import BatchNorm

FEW = 4  # images of a class; with fewer, none can be kept to choose by, and tuning overfits
_STEPS, _LEAST_EPOCHS, _MOST_EPOCHS = 150, 30, 100  # optimiser steps of an attempt, at least

# Learning rate, radius, and the weight of the candidate's own soft answers; strongest first. On few
# images the labels alone are soon known by heart, and accuracy elsewhere is lost; the candidate's
# answers on clean images hold it, but hold more of what it was, too: as little of them as will do.
# Weights before BatchNorm are scale-free: the paper's radius holds, and hot steps do.
_NORMALISED = (
    (0.1, 4.0, 0.0),
    (0.1, 2.0, 0.0),
    (0.05, 2.0, 0.0),
    (0.05, 2.0, 0.5),
    (0.02, 2.0, 0.5),
    (0.02, 2.0, 0.9),
    (0.01, 1.0, 0.9),
)
# Without it the same step would end at chance.
_BARE = (
    (0.1, 0.5, 0.0),
    (0.05, 0.5, 0.0),
    (0.03, 0.2, 0.0),
    (0.01, 0.1, 0.0),
    (0.003, 0.05, 0.5),
    (0.001, 0.05, 0.9),
)


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """One method in several strengths, the strongest first; `start` is where a search begins."""

    method: str
    rungs: tuple[Purifier, ...]
    start: int = 0


def plan(model: Model, clean: Images) -> tuple[Ladder, ...]:
    """Give the ladders in the order in which they should be climbed.

    With a few images of each class only the masks of AWM are safe. Otherwise FT-SAM comes first,
    from the hottest step that the literature found harmless; then methods of another kind.
    """
    scarce = int(clean.labels.bincount(minlength=len(clean.classes)).min()) < FEW
    masks = _masks(len(clean))
    if scarce:
        return (masks,)
    return (_sharpness(model, clean), masks, *_others(model, clean))


def _sharpness(model: Model, clean: Images) -> Ladder:
    batch, epochs = _batch(len(clean)), _epochs(len(clean))
    normalised = has_batch_norm(model.network)
    steps = _NORMALISED if normalised else _BARE
    rungs = tuple(
        FTSAM(
            lr=lr, rho=rho, epochs=epochs, batch=batch, schedule="cosine", label_smoothing=0.0,
            crop_padding=model.input.size[1] // 16, clip=0.0 if normalised else 1.0, distil=distil,
        )
        for lr, rho, distil in steps
    )  # fmt: skip
    return Ladder(method="ft-sam", rungs=rungs, start=1 if normalised else 2)


def _masks(images: int) -> Ladder:
    if images < 100:
        rungs = tuple(WeightMasking.one_shot(tau=tau) for tau in (1000.0, 300.0, 100.0))
        return Ladder(method="awm", rungs=rungs, start=1)
    return Ladder(method="awm", rungs=(WeightMasking(), WeightMasking(alpha=0.99)))


def _others(model: Model, clean: Images) -> tuple[Ladder, ...]:
    batch, epochs = _batch(len(clean)), _epochs(len(clean))
    scale = 1.0 if has_batch_norm(model.network) else 0.01
    shift = FeatureShift(lr=0.05 * scale, epochs=epochs, batch=batch)
    swing = SuperFineTune(
        lr_base=0.03 * scale, lr_forget=2.5 * scale, lr_recover=0.05 * scale, batch=batch
    )
    return Ladder(method="fst", rungs=(shift,)), Ladder(method="super-ft", rungs=(swing,))


def has_batch_norm(network: nn.Module) -> bool:
    """Tell whether any BatchNorm follows the weights."""
    return any(isinstance(module, BatchNorm) for module in network.modules())


def _batch(images: int) -> int:
    return max(8, min(128, images // 4))


def _epochs(images: int) -> int:
    needed = -(-_STEPS * _batch(images) // max(images, 1))
    return min(max(_LEAST_EPOCHS, needed), _MOST_EPOCHS)
