"""FT-SAM: fine-tuning with adaptive sharpness-aware minimisation (Zhu et al., ICCV 2023, Eq. 4).

min over w of max over ||T_w^-1 eps||_2 <= rho of the clean cross-entropy at w + eps, with
T_w = diag(|w|).
Flat minima leave no room for the few large weights that a backdoor lives in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from gatekeeper.purification.memory import Memory, Start, Tuned
from gatekeeper.purification.tuning import Tuning
from gatekeeper.training import Schedule


@dataclass(frozen=True, kw_only=True)
class FTSAM(Tuning):
    """Settings of the paper for CIFAR-10; flips are off, since they are wrong for digits and signs.

    `schedule` "reference" is that of the published code: a cosine of period 100, stepped once per
    iteration; "cosine" is one cycle over the whole run.
    """

    method: ClassVar[str] = "ft-sam"

    rho: float = 2.0
    lr: float = 0.01
    epochs: int = 100
    batch: int = 256
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    schedule: Schedule = "reference"
    crop_padding: int = 4
    flip: bool = False
    clip: float = 0.0  # largest gradient norm; 0: none
    memory: Memory | None = field(default=None, repr=False, compare=False)

    def begin(self, tune: Callable[[], Tuned], start: Start) -> Tuned:
        """Tune, or go on from what an earlier attempt left."""
        return tune() if self.memory is None else self.memory.get(tune, start)
