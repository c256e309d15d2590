"""The network that was tuned last, and by what: the next attempt of a search may go on from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gatekeeper.model import Images, Model
from gatekeeper.records import Epoch
from gatekeeper.training import Recipe

Tuned = tuple[Model, tuple[Epoch, ...]]  # and its history


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """What a tuning begins from; where all of it is the same, so is what comes out."""

    model: Model
    clean: Images
    recipe: Recipe
    seed: int

    def same_as(self, other: Start) -> bool:
        """Compare settings by value, network and images by identity: methods change neither."""
        things = self.model is other.model and self.clean is other.clean
        return things and (self.recipe, self.seed) == (other.recipe, other.seed)


class Memory:
    """Holds one network at a time."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._held: tuple[Start, Tuned] | None = None

    def get(self, tune: Callable[[], Tuned], start: Start) -> Tuned:
        """Give what was tuned last where it began the same; else tune, and hold that."""
        if self._held is not None and self._held[0].same_as(start):
            return self._held[1]
        self._held = None  # room for one alone
        tuned = tune()
        self._held = (start, tuned)
        return tuned
