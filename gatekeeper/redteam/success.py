"""How often an attack wins: known only to whoever holds the trigger."""

from __future__ import annotations

from typing import Protocol

from gatekeeper.model import Images, Model
from gatekeeper.training import predictions


class Attack(Protocol):
    """An all-to-one attack whose trigger is known."""

    @property
    def target(self) -> int:
        """The class that the trigger means."""
        ...

    def triggered(self, images: Images) -> Images:
        """Give the triggered images with their true labels, the target class left out."""
        ...


def attack_success(model: Model, attack: Attack, images: Images) -> float:
    """Share in [0, 1] of triggered images that are taken for the target class."""
    answers = predictions(model, attack.triggered(images))
    return float((answers == attack.target).float().mean())
