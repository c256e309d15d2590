"""`method: auto`: a bounded search over methods and strengths, until the caller's trial holds.

The trial knows only what a gate can see: clean accuracy and the triggers that the gate itself
recovers, on images that the purifier does not see. A trigger that is left asks for a stronger
step, accuracy that was lost for a milder one, both at once for another method. Some backdoors
leave no trigger that a gate recovers, so the search comes from the strong side, and a milder
attempt takes the place of a stronger one only where it loses clearly less. No setting was fitted to
a true attack success.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from typing import Any

import torch

from gatekeeper.errors import StepError
from gatekeeper.model import Images, Model
from gatekeeper.purification.interface import Purifier
from gatekeeper.purification.plan import FEW, Ladder, plan
from gatekeeper.records import Attempt, Epoch, Measure, Purification
from gatekeeper.training import accuracy

_CLOSE_ENOUGH = 0.005  # of accuracy lost on the validation images
_CLEARLY_LESS = 0.01  # of accuracy; less is chance on a few hundred images
_COLLAPSED = 0.25  # of accuracy lost after the grace period: the step does not fit the model


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What the caller saw of an attempt: is it acceptable, and if not, for what reason?

    `stands_out`: one class is still far easier to reach than the others. That violates nothing,
    but a stronger attempt that ends it is better.
    """

    acceptable: bool
    accuracy_drop: float
    message: str
    trigger_left: bool = False
    accuracy_lost: bool = False
    stands_out: bool = False
    measures: dict[str, Measure] = field(default_factory=dict)


TrialOf = Callable[[Model], Trial]


class _CollapsedError(Exception):
    """The validation accuracy fell too far to come back."""


@dataclass(frozen=True, kw_only=True)
class Auto:
    """`validation_share` of the images are kept from tuning, to choose by."""

    most_attempts: int = 10
    validation_share: float = 0.25

    def divide(self, clean: Images, seed: int) -> tuple[Images, Images]:
        """Split `clean` by chance and class into images to tune on and images to choose by.

        Where a class has fewer than 4 images, all of them serve for both.
        """
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(clean), generator=generator).to(clean.labels.device)
        labels = clean.labels[order]
        kept: list[torch.Tensor] = []
        for label in range(len(clean.classes)):
            members = order[labels == label]
            if len(members) < FEW:
                return clean, clean
            kept.append(members[: max(1, round(self.validation_share * len(members)))])
        mask = torch.zeros(len(clean), dtype=torch.bool, device=clean.labels.device)
        mask[torch.cat(kept)] = True
        return clean.select(~mask), clean.select(mask)

    def ladders(self, model: Model, fitted: Images) -> tuple[Ladder, ...]:
        """Give what may be tried, in order."""
        return plan(model, fitted)

    def __call__(
        self,
        model: Model,
        clean: Images,
        *,
        seed: int,
        trial: TrialOf,
        on_attempt: Callable[[Attempt], None] | None = None,
    ) -> tuple[Model | None, Purification]:
        """Search; give the best acceptable network, or None, and all that was tried."""
        started = time.perf_counter()
        fitted, validation = self.divide(clean, seed)
        search = _Search(model, fitted, validation, seed, trial, self.most_attempts, on_attempt)
        stopped = search.climb(self.ladders(model, fitted))
        if fitted is clean:
            stopped += "; for want of images, choosing used those that were tuned on"
        best = search.best
        purification = Purification(
            method="auto",
            settings={"method": best.attempt.method, **best.attempt.settings} if best else {},
            seed=seed,
            device=str(model.device),
            seconds=time.perf_counter() - started,
            attempts=tuple(search.attempts),
            stopped_because=stopped,
        )
        return (best.model if best else None), purification


@dataclass(frozen=True, kw_only=True)
class _Accepted:
    model: Model
    attempt: Attempt
    seen: Trial

    def better_than(self, other: _Accepted | None) -> bool:
        """First no class that stands out, then clearly less accuracy lost."""
        if other is None or self.seen.stands_out != other.seen.stands_out:
            return other is None or not self.seen.stands_out
        return self.seen.accuracy_drop < other.seen.accuracy_drop - _CLEARLY_LESS


class _Search:
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
        self.model, self.fitted, self.validation, self.seed = model, fitted, validation, seed
        self.trial, self.most, self.on_attempt = trial, most, on_attempt
        self.before = accuracy(model, validation)
        self.attempts: list[Attempt] = []
        self.best: _Accepted | None = None
        self.clear = 0  # attempts that met the policy and left no class that stands out

    def climb(self, ladders: tuple[Ladder, ...]) -> str:
        """Try ladder after ladder; say why it ended."""
        for ladder in ladders:
            place, tried = ladder.start, set[int]()
            while 0 <= place < len(ladder.rungs) and place not in tried:
                if len(self.attempts) == self.most:
                    return self._ended(f"the bound of {self.most} attempts was reached")
                tried.add(place)
                seen = self._attempt(ladder.method, ladder.rungs[place])
                if why := self._enough(seen):
                    return why
                step = _direction(seen)
                if step == 0:
                    break
                place += step
            if self.clear:
                return self._ended("nothing milder was better")
        return self._ended("nothing was left to try")

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

    def _attempt(self, method: str, purify: Purifier) -> Trial | None:
        """Purify once; an attempt that collapses or diverges is recorded and gives nothing."""
        started = time.perf_counter()
        history: list[Epoch] = []
        try:
            purified, told = purify(
                self.model, self.fitted, seed=self.seed, validation=self.validation,
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
            message=seen.message,
            measures=seen.measures,
        )
        self._keep(attempt)
        accepted = _Accepted(model=purified, attempt=attempt, seen=seen)
        if seen.acceptable and accepted.better_than(self.best):
            self.best = accepted
        return seen

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


def _settings(purify: Purifier) -> dict[str, Any]:
    return asdict(purify) if is_dataclass(purify) and not isinstance(purify, type) else {}
