"""FT-SAM by a hot step, and then the candidate's knowledge is brought back, but not its marks.

A hot and wide step removes what lives in a few large weights, and costs accuracy where clean
images are few. The candidate's answers on mixtures of clean images bring it back (a patient and
consistent teacher: Beyer et al., CVPR 2022). Half of these images wear what the gate found to
force the candidate, and half are bent a little, which means nothing to an honest network; the
answer to learn is that on the bare image. What the gate neither finds nor disturbs may come back
with the accuracy, as with every teacher that is not trusted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from gatekeeper.augmentation import bend
from gatekeeper.model import Images, Model
from gatekeeper.purification.ft_sam import FTSAM
from gatekeeper.purification.marks import Marks, find_marks
from gatekeeper.records import Setting
from gatekeeper.training import Disguise, Recipe, Schedule

_TAUGHT = 0.9  # weight of the candidate's answers; the rest is that of the labels
# Share of the images that are bent, and by how much of the height at most: the strongest of those
# tried that cost a never-poisoned network of CIFAR-10 no accuracy.
_BENT, _MOST_BENT = 0.5, 1 / 64


@dataclass(frozen=True, kw_only=True)
class Restoration(FTSAM):
    """The settings of FT-SAM, and `restore_lr` and `restore_epochs` of what follows.

    `seek` gives the candidate's marks, so that many attempts seek once; where left out, they are
    sought on the clean images. `known` are those that were found.
    """

    method: ClassVar[str] = "ft-sam-restore"

    lr: float = 0.1
    epochs: int = 50
    batch: int = 128
    label_smoothing: float = 0.0
    schedule: Schedule = "cosine"
    crop_padding: int = 2
    restore_lr: float = 0.1
    restore_epochs: int = 100
    seek: Callable[[], Marks] | None = field(default=None, repr=False, compare=False)
    known: Marks | None = field(default=None, repr=False, compare=False)

    def prepared(self, model: Model, clean: Images, seed: int) -> Self:
        """Give the same with the candidate's marks."""
        if self.known is not None:
            return self
        known = self.seek() if self.seek else find_marks(model, clean, seed=seed)
        return replace(self, known=known)

    def finish(self, recipe: Recipe) -> Recipe:
        """Plain steps towards the candidate's answers, and a little the labels, in one cycle."""
        return replace(
            recipe, epochs=self.restore_epochs, lr=self.restore_lr, rho=0.0, schedule="cosine",
            distil=_TAUGHT, mixed=True,
        )  # fmt: skip

    def disguise(self) -> Disguise:
        """Bend half of the images, and let half wear the candidate's marks, where it has any."""

        def disguised(pixels: Tensor, generator: torch.Generator) -> Tensor:
            drawn = torch.rand(len(pixels), generator=generator) < _BENT
            rows = drawn.nonzero().flatten().to(pixels.device)
            pixels = pixels.clone()
            pixels[rows] = bend(pixels[rows], _MOST_BENT * pixels.shape[2], generator)
            return self.known.worn(pixels, generator) if self.known else pixels

        return disguised

    def phases(self) -> tuple[int, ...]:
        """The hot steps, and the way back."""
        return (self.epochs, self.restore_epochs)

    def longer(self, times: float, batch: int) -> Self:
        """Give the same with `times` the epochs of both parts."""
        longer = super().longer(times, batch)
        return replace(longer, restore_epochs=round(times * self.restore_epochs))

    def more(self) -> dict[str, Setting]:
        """Tell the settings of the way back, and how many marks are countered."""
        return {
            "restore_lr": self.restore_lr,
            "restore_epochs": self.restore_epochs,
            "restore_distil": _TAUGHT,
            "restore_bend": _MOST_BENT,
            "marks": len(self.known or ()),
        }
