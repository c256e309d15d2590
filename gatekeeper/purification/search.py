"""A bounded search over methods and strengths, until the caller's trial holds.

The trial knows only what a gate can see: clean accuracy and the triggers that the gate itself
recovers, on images that the purifier does not see. A trigger that is left asks for a stronger
step, accuracy that was lost for a milder one, both at once for another method. Some backdoors
leave no trigger that a gate recovers, so the search comes from the strong side, and a milder
attempt takes the place of a stronger one only where it loses clearly less.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import Any

from gatekeeper.errors import StepError
from gatekeeper.model import Images, Model
from gatekeeper.purification.interface import Purifier
from gatekeeper.purification.plan import Ladder
from gatekeeper.purification.trial import Trial, TrialOf
from gatekeeper.records import Attempt, Epoch, Measure
from gatekeeper.training import accuracy

_CLOSE_ENOUGH = 0.005  # of accuracy lost on the validation images
_CLEARLY_LESS = 0.01  # of accuracy; less is chance on a few hundred images
_LONGER = 1.6  # times the epochs of an attempt, for the network that is kept
_TUNED_ON_ALL = "tuned on all images, those of the trial too, so accuracy on them says nothing"
_COLLAPSED = 0.25  # of accuracy lost after the grace period: the step does not fit the model


class _CollapsedError(Exception):
    """The validation accuracy fell too far to come back."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """An attempt that came to its end, and what the trial saw of it."""

    model: Model
    purify: Purifier
    attempt: Attempt
    seen: Trial

    def better_than(self, other: Tried | None) -> bool:
        """Tell it by a class that stands out first, then by clearly less accuracy lost."""
        if other is None or self.seen.stands_out != other.seen.stands_out:
            return other is None or not self.seen.stands_out
        return self.seen.accuracy_drop < other.seen.accuracy_drop - _CLEARLY_LESS

    def no_worse_than(self, other: Tried) -> bool:
        """Tell it where accuracy cannot be compared, for one was tuned on the images of the trial.

        The other was acceptable.
        """
        return self.seen.acceptable and self.seen.stands_out <= other.seen.stands_out


class Search:
    """What was tried so far, and the best of what was accepted."""

    def __init__(
        self,
        model: Model,
        fitted: Images,
        validation: Images,
        seed: int,
        trial: TrialOf,
        most: int,
        on_attempt: Callable[[Attempt], None] | None,
    ) -> None:
        """`fitted` is tuned on, `validation` is what the trial sees, `most` bounds the attempts."""
        self.model, self.fitted, self.validation, self.seed = model, fitted, validation, seed
        self.trial, self.most, self.on_attempt = trial, most, on_attempt
        self.before = accuracy(model, validation)
        self.attempts: list[Attempt] = []
        self.best: Tried | None = None
        self.clear = 0  # attempts that met the policy and left no class that stands out

    def climb(self, ladders: tuple[Ladder, ...]) -> str:
        """Try ladder after ladder; say why it ended."""
        for ladder in ladders:
            place, been = ladder.start, set[int]()
            while 0 <= place < len(ladder.rungs) and place not in been:
                if len(self.attempts) == self.most:
                    return self._ended(f"the bound of {self.most} attempts was reached")
                been.add(place)
                tried = self._attempt(ladder.method, ladder.rungs[place], self.fitted)
                if tried is not None and tried.seen.acceptable and tried.better_than(self.best):
                    self.best = tried
                seen = None if tried is None else tried.seen
                if why := self._enough(seen):
                    return why
                step = _direction(seen)
                if step == 0:
                    break
                place += step
            if self.clear:
                return self._ended("nothing milder was better")
        return self._ended("nothing was left to try")

    def settle(self, clean: Images) -> str:
        """Tune by the best setting again, longer and on all of `clean`; say whether it is kept."""
        chosen = self.best
        if chosen is None:
            return ""
        again = self._attempt(chosen.attempt.method, _longer(chosen.purify), clean)
        if again is None or not again.no_worse_than(chosen):
            return (
                f"; tuned once more, on all {len(clean)} images, it was worse, and that was dropped"
            )
        self.best = again
        return f"; kept as tuned once more, on all {len(clean)} images"

    def _enough(self, seen: Trial | None) -> str:
        """Say why nothing more need be tried after `seen`, if so."""
        if seen is None or not seen.acceptable or seen.stands_out:
            return ""
        self.clear += 1
        if seen.accuracy_drop <= _CLOSE_ENOUGH:
            return "an attempt met the policy and lost next to no accuracy"
        if self.clear == 2:
            return "two attempts met the policy; the milder is kept only if it lost clearly less"
        return ""

    def _ended(self, why: str) -> str:
        if self.best is not None:
            easy = "a class still stands out in it; " if self.best.seen.stands_out else ""
            return f"an attempt met the policy; {easy}{why}"
        told = f"no attempt met the policy on the validation images ({len(self.attempts)} made)"
        return f"{told}; {why}"

    def _attempt(self, method: str, purify: Purifier, images: Images) -> Tried | None:
        """Purify once; an attempt that collapses or diverges is recorded and gives nothing."""
        unseen = self.validation if images is self.fitted else None
        started = time.perf_counter()
        history: list[Epoch] = []
        try:
            purified, told = purify(
                self.model, images, seed=self.seed, validation=unseen,
                on_epoch=self._watch(history, grace=_grace(purify)),
            )  # fmt: skip
        except (StepError, _CollapsedError) as error:
            self._keep(
                Attempt(
                    method=method,
                    settings=_settings(purify),
                    seconds=time.perf_counter() - started,
                    outcome="diverged",
                    message=str(error),
                    history=tuple(history),
                )
            )
            return None
        seen = self.trial(purified)
        attempt = replace(
            told.attempts[0],
            seconds=time.perf_counter() - started,
            outcome="accepted" if seen.acceptable else "refused",
            message=seen.message if unseen else f"{_TUNED_ON_ALL}: {seen.message}",
            measures=seen.measures if unseen else _of_triggers(seen.measures),
        )
        self._keep(attempt)
        return Tried(model=purified, purify=purify, attempt=attempt, seen=seen)

    def _keep(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)
        if self.on_attempt is not None:
            self.on_attempt(attempt)

    def _watch(self, history: list[Epoch], *, grace: int) -> Callable[[Epoch], None]:
        """Give up after `grace` epochs where the network forgot what it knew."""

        def watch(epoch: Epoch) -> None:
            history.append(epoch)
            late = epoch.epoch >= grace
            if late and epoch.accuracy is not None and epoch.accuracy < self.before - _COLLAPSED:
                message = (
                    f"validation accuracy fell from {100 * self.before:.1f} to "
                    f"{100 * epoch.accuracy:.1f} %"
                )
                raise _CollapsedError(message)

        return watch


def _grace(purify: Purifier) -> int:
    """Give the epochs, or rounds, before a fall counts.

    While steps are hot, BatchNorm's statistics lag behind the weights; such dips come back.
    """
    length = getattr(purify, "epochs", getattr(purify, "rounds", 30))
    return max(3, 2 * length // 3)


def _direction(seen: Trial | None) -> int:
    """-1: a stronger step; +1: a milder one; 0: another method."""
    if seen is None:
        return 1
    if seen.accuracy_lost:
        return 0 if seen.trigger_left else 1
    if seen.acceptable and not seen.stands_out:
        return 1
    return -1  # a trigger is left, or a class stands out


def _longer(purify: Purifier) -> Purifier:
    epochs = getattr(purify, "epochs", None)
    if epochs is None or not is_dataclass(purify) or isinstance(purify, type):
        return purify
    return replace(purify, epochs=round(_LONGER * epochs))


def _of_triggers(measures: dict[str, Measure]) -> dict[str, Measure]:
    return {name: measure for name, measure in measures.items() if "trigger" in name}


def _settings(purify: Purifier) -> dict[str, Any]:
    return asdict(purify) if is_dataclass(purify) and not isinstance(purify, type) else {}
