"""What every attack is: it poisons training data, and its owner can trigger what it planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from torch import Tensor

from gatekeeper.model import Images, Model
from gatekeeper.training import Recipe


@runtime_checkable
class Attack(Protocol):
    """An attack whose trigger is known."""

    def poison(self, images: Images, *, seed: int) -> Images:
        """Give the training images with some of them poisoned."""
        ...

    def triggered(self, images: Images) -> Images:
        """Give the images on which success is counted, with the trigger and their true labels."""
        ...

    def wanted(self, labels: Tensor) -> Tensor:
        """(N,) true labels -> (N,) the classes that the attacker wants instead."""
        ...


@runtime_checkable
class NeedsSurrogate(Protocol):
    """An attack that shapes its trigger, or its images, on a clean network of the attacker's."""

    def prepare(self, surrogate: Model, images: Images, *, seed: int) -> Attack:
        """Give the attack made ready on `surrogate`."""
        ...


@runtime_checkable
class TrainsItself(Protocol):
    """An attack that holds the training, not just the data."""

    def implant(
        self, fresh: Model, images: Images, recipe: Recipe, *, seed: int
    ) -> tuple[Model, Attack]:
        """Train a copy of `fresh`; give it with the attack that triggers it."""
        ...


Surrogate = Callable[[], Model]
