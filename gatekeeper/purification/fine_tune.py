"""Plain fine-tuning on clean images: the baseline that every purifier must beat."""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.model import Images, Model
from gatekeeper.purification.interface import OnEpoch
from gatekeeper.purification.tuning import recipe_of, tune
from gatekeeper.records import Purification
from gatekeeper.training import Schedule


@dataclass(frozen=True, kw_only=True)
class FineTune:
    """SGD with momentum, one cosine cycle."""

    lr: float = 0.01
    epochs: int = 50
    batch: int = 128
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Schedule = "cosine"
    crop_padding: int = 0
    flip: bool = False

    def __call__(
        self,
        model: Model,
        clean: Images,
        *,
        seed: int,
        validation: Images | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> tuple[Model, Purification]:
        """Fine-tune `model` on `clean`; raises Diverged where the step does not fit the model."""
        recipe = recipe_of(self)
        return tune("ft", model, clean, recipe, seed=seed, validation=validation, on_epoch=on_epoch)
