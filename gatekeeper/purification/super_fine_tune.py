"""Super-fine-tuning: the learning rate swings, first to forget, then to recover.

Sha et al., arXiv 2212.09067. Secondary sources disagree on the constants: 3e-4 / 0.1 / 1e-3 over 6
epochs, or 0.03 / 2.5 / 0.05 over 100. The second's peaks and length are the default: with a small
clean set the first make some dozen steps, and a network that hardly moved cannot have forgotten
anything. The base is the first's: a run that ends at 0.03 has not come to rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gatekeeper.purification.tuning import Tuning, recipe_of
from gatekeeper.training import Recipe


@dataclass(frozen=True, kw_only=True)
class SuperFineTune(Tuning):
    """SGD whose rate runs in triangles between `lr_base` and a peak, `cycles` in each half."""

    method: ClassVar[str] = "super-ft"

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

    def recipe(self) -> Recipe:
        """Forget in the first half, recover in the second."""
        return recipe_of(self, schedule="super", lr=self.lr_forget, lr_second=self.lr_recover)
