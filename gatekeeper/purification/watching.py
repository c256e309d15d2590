"""Gives up an attempt that, late in a phase, forgot what the network knew."""

from __future__ import annotations

from collections.abc import Callable

from gatekeeper.purification.interface import Purifier
from gatekeeper.purification.tuning import Tuning
from gatekeeper.records import Epoch

_COLLAPSED = 0.25  # of accuracy lost after the grace period: the step does not fit the model


class CollapsedError(Exception):
    """The validation accuracy fell too far to come back."""


def watch(
    history: list[Epoch], *, phases: tuple[int, ...], before: float
) -> Callable[[Epoch], None]:
    """Give what hears each epoch, notes it in `history`, and raises `CollapsedError`.

    While steps are hot, BatchNorm's statistics lag behind the weights; such dips come back.

    Args:
        history: is filled; an attempt that begins again, on smaller batches, begins it again.
        phases: epochs of each part of the purification.
        before: the candidate's accuracy on the validation images, in [0, 1].
    """

    def hear(epoch: Epoch) -> None:
        if history and epoch.epoch <= history[-1].epoch:
            history.clear()
        history.append(epoch)
        late = _late(epoch.epoch, phases)
        if late and epoch.accuracy is not None and epoch.accuracy < before - _COLLAPSED:
            message = (
                f"validation accuracy fell from {100 * before:.1f} to {100 * epoch.accuracy:.1f} %"
            )
            raise CollapsedError(message)

    return hear


def phases_of(purify: Purifier) -> tuple[int, ...]:
    """Give the epochs, or rounds, of each part of a purification."""
    return purify.phases() if isinstance(purify, Tuning) else (getattr(purify, "rounds", 30),)


def _late(epoch: int, phases: tuple[int, ...]) -> bool:
    """Tell whether `epoch` (from 1) lies in the last third of its phase."""
    begun = 0
    for length in phases:
        if epoch <= begun + length:
            return epoch - begun >= max(3, 2 * length // 3)
        begun += length
    return True
