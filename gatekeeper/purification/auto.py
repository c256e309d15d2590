"""`method: auto`: climbs a ladder of learning rates and radii until the caller's trial holds.

The trial knows only what a gate can see: clean accuracy and the triggers that the gate itself
recovers, on images that the purifier does not see. No step of the ladder was chosen by looking at
true attack success.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace

import torch
from torch import nn

from gatekeeper.errors import StepError
from gatekeeper.model import Images, Model
from gatekeeper.purification.tuning import tune
from gatekeeper.records import Attempt, Epoch, Measure, Purification
from gatekeeper.training import BatchNorm, Recipe, accuracy

_CLOSE_ENOUGH = 0.005  # of accuracy lost on the validation images
_COLLAPSED = 0.25  # of accuracy lost after the grace period: the step does not fit the model


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What the caller saw of an attempt."""

    acceptable: bool
    accuracy_drop: float
    message: str
    measures: dict[str, Measure] = field(default_factory=dict)


class _CollapsedError(Exception):
    """The validation accuracy fell too far to come back."""


@dataclass(frozen=True, kw_only=True)
class Auto:
    """A bounded search: `validation_share` of the images are kept from tuning, to choose by."""

    most_attempts: int = 6
    validation_share: float = 0.25
    steps: int = 150  # optimiser steps of an attempt, at least
    least_epochs: int = 20
    flip: bool = False

    def divide(self, clean: Images, seed: int) -> tuple[Images, Images]:
        """Split `clean` by chance and class into images to tune on and images to choose by.

        Classes of two images or more give at least one to each part.
        """
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(clean), generator=generator).to(clean.labels.device)
        labels = clean.labels[order]
        kept: list[torch.Tensor] = []
        for label in range(len(clean.classes)):
            members = order[labels == label]
            share = round(self.validation_share * len(members))
            kept.append(members[: max(share, 1) if len(members) > 1 else 0])
        chosen = torch.cat(kept)
        mask = torch.zeros(len(clean), dtype=torch.bool, device=clean.labels.device)
        mask[chosen] = True
        return clean.select(~mask), clean.select(mask)

    def ladder(self, network: nn.Module, images: int, side: int) -> list[Recipe]:
        """Give the attempts, gentle ones first, as they fit the network and its images."""
        batch = max(8, min(128, images // 4))
        epochs = max(self.least_epochs, -(-self.steps * batch // max(images, 1)))
        common = Recipe(
            epochs=min(epochs, 100), lr=0.0, batch=batch, flip=self.flip, crop_padding=side // 16
        )
        if any(isinstance(module, BatchNorm) for module in network.modules()):
            # Weights before BatchNorm are scale-free: the paper's radius holds, and hot steps do.
            rungs = [(0.05, 2.0), (0.1, 2.0), (0.02, 2.0), (0.1, 4.0), (0.05, 8.0), (0.01, 1.0)]
            return [replace(common, lr=lr, rho=rho) for lr, rho in rungs]
        rungs = [(0.003, 0.05), (0.01, 0.1), (0.03, 0.2), (0.05, 0.5), (0.001, 0.05), (0.1, 0.5)]
        return [replace(common, lr=lr, rho=rho, clip=1.0) for lr, rho in rungs]

    def __call__(
        self,
        model: Model,
        clean: Images,
        *,
        seed: int,
        trial: Callable[[Model], Trial],
        on_attempt: Callable[[Attempt], None] | None = None,
    ) -> tuple[Model | None, Purification]:
        """Search; give the best acceptable network, or None, and all that was tried.

        Raises:
            StepError: no class has two images, so that none could be kept to choose by.
        """
        started = time.perf_counter()
        fitted, validation = self.divide(clean, seed)
        if not len(validation):
            message = f"{len(clean)} clean images are too few to tune on some and choose by others"
            raise StepError(message, hint="Give at least 2 images of each class; better 50.")
        attempts: list[Attempt] = []
        best: tuple[float, Model, Recipe] | None = None
        ladder = self.ladder(model.network, len(fitted), model.input.size[1])
        stopped = f"all {min(self.most_attempts, len(ladder))} attempts were made"
        for recipe in ladder[: self.most_attempts]:
            tuned, attempt, seen = _attempt(model, fitted, validation, recipe, seed, trial)
            attempts.append(attempt)
            if on_attempt is not None:
                on_attempt(attempt)
            if tuned is None or seen is None or not seen.acceptable:
                continue
            if best is None or seen.accuracy_drop < best[0]:
                best = (seen.accuracy_drop, tuned, recipe)
            if seen.accuracy_drop <= _CLOSE_ENOUGH:
                stopped = "an attempt met the policy and lost next to no accuracy"
                break
            if len(_accepted(attempts)) == 2:
                stopped = "two attempts met the policy; the one that lost less was kept"
                break
        if best is None:
            stopped = f"no attempt met the policy on the validation images ({len(attempts)} made)"
        purification = Purification(
            method="auto",
            settings=asdict(best[2]) if best else {},
            seed=seed,
            device=str(model.device),
            seconds=time.perf_counter() - started,
            attempts=tuple(attempts),
            stopped_because=stopped,
        )
        return (best[1] if best else None), purification


def _accepted(attempts: Sequence[Attempt]) -> list[Attempt]:
    return [attempt for attempt in attempts if attempt.outcome == "accepted"]


def _attempt(
    model: Model,
    fitted: Images,
    validation: Images,
    recipe: Recipe,
    seed: int,
    trial: Callable[[Model], Trial],
) -> tuple[Model | None, Attempt, Trial | None]:
    """Tune once; an attempt that collapses or diverges is recorded and gives nothing."""
    started = time.perf_counter()
    history: list[Epoch] = []
    watch = _watch(accuracy(model, validation), recipe.epochs, history)
    try:
        tuned, told = tune(
            "ft-sam", model, fitted, recipe, seed=seed, validation=validation, on_epoch=watch
        )
    except (StepError, _CollapsedError) as error:
        failed = Attempt(
            method="ft-sam",
            settings=asdict(recipe),
            seconds=time.perf_counter() - started,
            outcome="diverged",
            message=str(error),
            history=tuple(history),
        )
        return None, failed, None
    seen = trial(tuned)
    attempt = replace(
        told.attempts[0],
        seconds=time.perf_counter() - started,
        outcome="accepted" if seen.acceptable else "refused",
        message=seen.message,
        measures=seen.measures,
    )
    return tuned, attempt, seen


def _watch(before: float, epochs: int, history: list[Epoch]) -> Callable[[Epoch], None]:
    """Give up after a third of the epochs where the network forgot what it knew."""

    def watch(epoch: Epoch) -> None:
        history.append(epoch)
        late = epoch.epoch >= max(3, epochs // 3)
        if late and epoch.accuracy is not None and epoch.accuracy < before - _COLLAPSED:
            message = f"validation accuracy fell from {before:.3f} to {epoch.accuracy:.3f}"
            raise _CollapsedError(message)

    return watch
