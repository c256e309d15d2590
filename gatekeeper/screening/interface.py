"""What every screen is: a look at a network that flags, and does not decide."""

from __future__ import annotations

from typing import Protocol

from gatekeeper.model import Images, Model
from gatekeeper.records import Finding, ScreenResult


class Screen(Protocol):
    """Data-free: takes a network and gives a score for the whole of it, and findings."""

    def __call__(self, model: Model) -> tuple[ScreenResult, list[Finding]]:
        """Screen `model`; raises StepError where it cannot serve such a network."""
        ...


class ImageScreen(Protocol):
    """Looks at a network through clean images that it was not trained on."""

    def __call__(self, model: Model, images: Images) -> tuple[ScreenResult, list[Finding]]:
        """Screen `model` on `images`; raises StepError where it cannot serve such a network."""
        ...


def not_run(why: str) -> tuple[ScreenResult, list[Finding]]:
    """Say that a screen does not serve such a network."""
    return ScreenResult(score=None, outcome="not-run", message=why), []


def undecided(why: str) -> tuple[ScreenResult, list[Finding]]:
    """Say that a screen looked, and that what it saw means nothing."""
    return ScreenResult(score=None, outcome="undecided", message=why), []
