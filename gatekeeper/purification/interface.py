"""What every purifier is: a function from a network and clean images to a network and its story."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol, Self, runtime_checkable

from gatekeeper.model import Images, Model
from gatekeeper.records import Attempt, Epoch, Purification
from gatekeeper.triggers import Trigger

OnEpoch = Callable[[Epoch], None]


class Purifier(Protocol):
    """Gives a new model; the one it was lent stays as it was. `method`: its name in a policy."""

    method: ClassVar[str]

    def __call__(
        self,
        model: Model,
        clean: Images,
        *,
        seed: int,
        validation: Images | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> tuple[Model, Purification]:
        """Purify `model` on `clean`.

        Args:
            model: stays as it was.
            clean: what to purify on.
            seed: of all that is drawn.
            validation: images whose accuracy goes into the history.
            on_epoch: hears each epoch; what it raises ends the purification.

        Raises:
            StepError: the method cannot serve this network; Diverged among others.
        """
        ...


@runtime_checkable
class Countering(Purifier, Protocol):
    """A purifier that can be told what to counter, beside what it finds itself."""

    def against(self, triggers: tuple[Trigger, ...]) -> Self:
        """Give the same, which counters `triggers`, too."""
        ...


def story(attempt: Attempt, model: Model, seed: int) -> Purification:
    """Tell a purification that consists of one attempt."""
    return Purification(
        method=attempt.method,
        settings=attempt.settings,
        seed=seed,
        device=str(model.device),
        seconds=attempt.seconds,
        attempts=(attempt,),
        stopped_because="one fixed setting was asked for",
    )
