"""Super-fine-tuning: the learning rate swings, first to forget, then to recover.

Sha et al., arXiv 2212.09067. Secondary sources disagree on the constants: 3e-4 / 0.1 / 1e-3 over 6
epochs, or 0.03 / 2.5 / 0.05 over 100. The second's peaks and length are the default: with a small
clean set the first make some dozen steps, and a network that hardly moved cannot have forgotten
anything. The base is the first's: a run that ends at 0.03 has not come to rest.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatekeeper.model import Images, Model
from gatekeeper.purification.interface import OnEpoch
from gatekeeper.purification.tuning import recipe_of, tune
from gatekeeper.records import Purification


@dataclass(frozen=True, kw_only=True)
class SuperFineTune:
    """SGD whose rate runs in triangles between `lr_base` and a peak, `cycles` in each half."""

    lr_base: float = 3e-4
    lr_forget: float = 2.5
    lr_recover: float = 0.05
    epochs: int = 100
    cycles: int = 3
    batch: int = 128
    momentum: float = 0.9
    weight_decay: float = 5e-4
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
        """Purify `model` on `clean`; raises Diverged where the step does not fit the model."""
        recipe = recipe_of(self, schedule="super", lr=self.lr_forget, lr_second=self.lr_recover)
        return tune(
            "super-ft", model, clean, recipe, seed=seed, validation=validation, on_epoch=on_epoch
        )
