"""Tunes by a recipe and tells the story; what plain and sharpness-aware fine-tuning share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any

import torch

from gatekeeper.errors import StepError
from gatekeeper.model import Images, Model
from gatekeeper.purification.interface import OnEpoch
from gatekeeper.records import Attempt, Epoch, Purification, Setting
from gatekeeper.training import Recipe, Rein, fine_tune

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def recipe_of(settings: DataclassInstance, **more: Any) -> Recipe:
    """Give the recipe that shares every setting with a purifier by its name, and has `more`."""
    known = {field.name for field in fields(Recipe)}
    shared = {field.name: getattr(settings, field.name) for field in fields(settings)}
    return Recipe(**{name: value for name, value in shared.items() if name in known} | more)


def tune(
    method: str,
    model: Model,
    clean: Images,
    recipe: Recipe,
    *,
    seed: int,
    validation: Images | None = None,
    on_epoch: OnEpoch | None = None,
    rein: Callable[[Model, Recipe], Rein] | None = None,
    **more: Setting,
) -> tuple[Model, Purification]:
    """Fine-tune by `recipe`; where a GPU is out of memory, halve the batch once and say so.

    `more` settings, those of the rein, are told beside the recipe's.

    Raises:
        Diverged: the loss became NaN or infinite.
        StepError: the GPU has no room even so.
    """
    started = time.perf_counter()
    message = "the only attempt"

    def fit(recipe: Recipe) -> tuple[Model, tuple[Epoch, ...]]:
        held = None if rein is None else lambda tuned: rein(tuned, recipe)
        return fine_tune(
            model, clean, recipe, seed=seed, validation=validation, on_epoch=on_epoch, rein=held
        )

    try:
        try:
            tuned, history = fit(recipe)
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            recipe = replace(recipe, batch=max(1, recipe.batch // 2))
            message = f"the GPU was out of memory, so the batch was halved to {recipe.batch}"
            tuned, history = fit(recipe)
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        message = f"the GPU has no room to tune on batches of {recipe.batch}"
        raise StepError(message, hint="Use a GPU with more memory, or --device cpu.") from None
    settings: dict[str, Setting] = {**asdict(recipe), **more, "images": len(clean)}
    seconds = time.perf_counter() - started
    attempt = Attempt(
        method=method,
        settings=settings,
        seconds=seconds,
        outcome="accepted",
        message=message,
        history=history,
    )
    purification = Purification(
        method=method,
        settings=settings,
        seed=seed,
        device=str(model.device),
        seconds=seconds,
        attempts=(attempt,),
        stopped_because="one fixed setting was asked for",
    )
    return tuned, purification
