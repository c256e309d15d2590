"""What every screen is: a look at a network that flags, and does not decide."""

from __future__ import annotations

from typing import Protocol

from gatekeeper.model import Model
from gatekeeper.records import Finding, ScreenResult


class Screen(Protocol):
    """Data-free: takes a network and gives a score for the whole of it, and findings."""

    def __call__(self, model: Model) -> tuple[ScreenResult, list[Finding]]:
        """Screen `model`; raises StepError where it cannot serve such a network."""
        ...
