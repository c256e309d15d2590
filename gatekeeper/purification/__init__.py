"""Purifiers by the name that a policy or `--purify` gives them."""

from collections.abc import Callable

from gatekeeper.purification.feature_shift import FeatureShift
from gatekeeper.purification.fine_tune import FineTune
from gatekeeper.purification.ft_sam import FTSAM
from gatekeeper.purification.interface import Purifier
from gatekeeper.purification.restoration import Restoration
from gatekeeper.purification.super_fine_tune import SuperFineTune
from gatekeeper.purification.taught_masking import TaughtMasking
from gatekeeper.purification.unlearning import Unlearning
from gatekeeper.purification.weight_masking import WeightMasking

_METHODS: tuple[type[Purifier], ...] = (
    FTSAM,
    Restoration,
    WeightMasking,
    TaughtMasking,
    SuperFineTune,
    FeatureShift,
    Unlearning,
    FineTune,
)
PURIFIERS: dict[str, Callable[[], Purifier]] = {kind.method: kind for kind in _METHODS}

__all__ = [
    "FTSAM",
    "PURIFIERS",
    "FeatureShift",
    "FineTune",
    "Purifier",
    "Restoration",
    "SuperFineTune",
    "TaughtMasking",
    "Unlearning",
    "WeightMasking",
]
