"""Plain fine-tuning on clean images: the baseline that every purifier must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gatekeeper.purification.tuning import Tuning
from gatekeeper.training import Schedule


@dataclass(frozen=True, kw_only=True)
class FineTune(Tuning):
    """SGD with momentum, one cosine cycle."""

    method: ClassVar[str] = "ft"

    lr: float = 0.01
    epochs: int = 50
    batch: int = 128
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Schedule = "cosine"
    crop_padding: int = 0
    flip: bool = False
