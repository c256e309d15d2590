"""Purifiers by the name that a policy or `--purify` gives them."""

from collections.abc import Callable

from gatekeeper.purification.feature_shift import FeatureShift
from gatekeeper.purification.fine_tune import FineTune
from gatekeeper.purification.ft_sam import FTSAM
from gatekeeper.purification.interface import Purifier
from gatekeeper.purification.super_fine_tune import SuperFineTune
from gatekeeper.purification.unlearning import Unlearning
from gatekeeper.purification.weight_masking import WeightMasking

PURIFIERS: dict[str, Callable[[], Purifier]] = {
    "ft-sam": FTSAM,
    "awm": WeightMasking,
    "super-ft": SuperFineTune,
    "fst": FeatureShift,
    "unlearn": Unlearning,
    "ft": FineTune,
}

__all__ = [
    "FTSAM",
    "PURIFIERS",
    "FeatureShift",
    "FineTune",
    "Purifier",
    "SuperFineTune",
    "Unlearning",
    "WeightMasking",
]
