"""How often an attack wins: known only to whoever holds the trigger."""

from __future__ import annotations

from gatekeeper.model import Images, Model
from gatekeeper.redteam.interface import Attack
from gatekeeper.training import predictions


def attack_success(model: Model, attack: Attack, images: Images) -> float:
    """Share in [0, 1] of triggered images that get the class which the attacker wants."""
    shown = attack.triggered(images)
    answers = predictions(model, shown)
    return float((answers == attack.wanted(shown.labels).cpu()).float().mean())


def robust_accuracy(model: Model, attack: Attack, images: Images) -> float:
    """Share in [0, 1] of triggered images that get their true class."""
    shown = attack.triggered(images)
    return float((predictions(model, shown) == shown.labels.cpu()).float().mean())
