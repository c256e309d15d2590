"""Purifiers by the name that a policy or `--purify` gives them."""

from gatekeeper.purification.fine_tune import FineTune
from gatekeeper.purification.ft_sam import FTSAM
from gatekeeper.purification.interface import Purifier

PURIFIERS: dict[str, type[FTSAM] | type[FineTune]] = {"ft-sam": FTSAM, "ft": FineTune}

__all__ = ["FTSAM", "PURIFIERS", "FineTune", "Purifier"]
