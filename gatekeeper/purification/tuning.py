"""Tunes by a recipe and tells the story: what every purifier that fine-tunes shares."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch

from gatekeeper.errors import StepError
from gatekeeper.model import Images, Model
from gatekeeper.purification.interface import OnEpoch, story
from gatekeeper.purification.memory import Start, Tuned
from gatekeeper.records import Attempt, Epoch, Purification, Setting
from gatekeeper.training import Disguise, Recipe, Rein, fine_tune

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


MakeRein = Callable[[Model, Recipe], Rein]  # for the copy that is tuned, by the recipe in force


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """A purifier that fine-tunes; each method adds its settings, and a rein where it has one."""

    method: ClassVar[str]

    epochs: int
    batch: int

    def __call__(
        self,
        model: Model,
        clean: Images,
        *,
        seed: int,
        validation: Images | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> tuple[Model, Purification]:
        """Purify `model` on `clean`; where a GPU is out of memory, halve the batch once.

        Raises:
            Diverged: the step does not fit the model.
            StepError: the network lacks what the method needs, or the GPU has no room.
        """
        started = time.perf_counter()
        ready = self.prepared(model, clean, seed)
        recipe, message = self.recipe(), "the only attempt"
        fit = partial(ready._fit, model, clean, seed=seed, validation=validation, on_epoch=on_epoch)
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
        attempt = Attempt(
            method=self.method,
            settings={**asdict(recipe), **ready.more(), "images": len(clean)},
            seconds=time.perf_counter() - started,
            outcome="accepted",
            message=message,
            history=history,
        )
        return tuned, story(attempt, model, seed)

    def _fit(
        self,
        model: Model,
        clean: Images,
        recipe: Recipe,
        *,
        seed: int,
        validation: Images | None,
        on_epoch: OnEpoch | None,
    ) -> Tuned:
        """Tune by `recipe`, and by what follows on it; epochs are counted through."""
        make_rein = self.rein(model, clean, seed)
        heard: list[Epoch] = []

        def hear(epoch: Epoch) -> None:
            heard.append(epoch)
            if on_epoch is not None:
                on_epoch(epoch)

        tuned, history = self.begin(
            lambda: fine_tune(
                model, clean, recipe, seed=seed, validation=validation, on_epoch=hear,
                rein=make_rein and (lambda copy: make_rein(copy, recipe)),
            ),
            Start(model=model, clean=clean, recipe=recipe, seed=seed),
        )  # fmt: skip
        for epoch in () if heard else history:
            hear(epoch)  # what was remembered is part of the story
        follows = self.finish(recipe)
        if follows is None:
            return tuned, history

        def later(epoch: Epoch) -> Epoch:
            return replace(epoch, epoch=recipe.epochs + epoch.epoch)

        tuned, more = fine_tune(
            tuned, clean, follows, seed=seed, validation=validation, teacher=model,
            on_epoch=lambda epoch: hear(later(epoch)),
            disguise=self.disguise(),
        )  # fmt: skip
        return tuned, (*history, *map(later, more))

    def prepared(self, model: Model, clean: Images, seed: int) -> Self:
        """Give the same with what it has to know of the candidate."""
        return self

    def recipe(self) -> Recipe:
        """Give the recipe that its settings name."""
        return recipe_of(self)

    def rein(self, model: Model, clean: Images, seed: int) -> MakeRein | None:
        """Give what the training is held to beside its loss."""
        return None

    def begin(self, tune: Callable[[], Tuned], start: Start) -> Tuned:
        """Tune; or give what an earlier attempt made of the same start, where one remembers."""
        return tune()

    def finish(self, recipe: Recipe) -> Recipe | None:
        """Give what follows on `recipe`, with the candidate for a teacher, where anything does."""
        return None

    def disguise(self) -> Disguise | None:
        """Give what is done to the images in `finish`, which the teacher does not see."""
        return None

    def phases(self) -> tuple[int, ...]:
        """Give the epochs of each part; in the first two thirds of a part a fall may come back."""
        return (self.epochs,)

    def longer(self, times: float, batch: int) -> Self:
        """Give the same with `times` the epochs, on other batches."""
        return replace(self, epochs=round(times * self.epochs), batch=batch)

    def more(self) -> dict[str, Setting]:
        """Give the settings that no recipe has, to be told."""
        return {}


def recipe_of(settings: DataclassInstance, **more: Any) -> Recipe:
    """Give the recipe that shares every setting with a purifier by its name, and has `more`."""
    known = {field.name for field in fields(Recipe)}
    shared = {field.name: getattr(settings, field.name) for field in fields(settings)}
    return Recipe(**{name: value for name, value in shared.items() if name in known} | more)
