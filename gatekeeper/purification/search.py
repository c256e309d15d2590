"""A bounded search over methods and strengths, until the caller's trial holds.

The trial knows only what a gate can see: clean accuracy and the triggers that the gate itself
recovers, on images that no attempt of the search is tuned on. A trigger that is left asks for a
stronger step, or for the same once more where a method can be told to counter it; accuracy that was
lost asks for a milder step, or, where the candidate's triggers work all the same, for another
method. Some backdoors leave no trigger that a gate recovers, so the search comes from the strong
side, and a milder attempt takes the place of a stronger one only where it loses clearly less. Where
nobody knows which step is strong, it goes up from a mild one for as long as that costs nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from gatekeeper.errors import StepError
from gatekeeper.model import Images, Model
from gatekeeper.purification.interface import Countering, Purifier
from gatekeeper.purification.plan import Ladder, for_good
from gatekeeper.purification.trial import Trial, TrialOf
from gatekeeper.purification.watching import CollapsedError, phases_of, watch
from gatekeeper.records import Attempt, Epoch
from gatekeeper.training import accuracy
from gatekeeper.triggers import Trigger

# Of accuracy; less is chance on a few hundred images. What is strong and loses no more is enough,
# though a milder attempt may even gain.
_CLEARLY_LESS = 0.01
_NOTHING = 0.005  # of accuracy; a bolder step that loses no more goes on
_FOR_GOOD = "what was chosen, tuned longer and on all {} images, so accuracy on them tells nothing"
_MOST_COUNTERED = 2  # times that a ladder is told what to counter


@dataclass(frozen=True, kw_only=True)
class Tried:
    """An attempt that came to its end, and what the trial saw of it."""

    model: Model
    purify: Purifier
    attempt: Attempt
    seen: Trial

    def better_than(self, other: Tried | None) -> bool:
        """Whether a class stands out in the other alone, or else it lost clearly less accuracy."""
        if other is None or self.seen.stands_out != other.seen.stands_out:
            return other is None or not self.seen.stands_out
        return self.seen.accuracy_drop < other.seen.accuracy_drop - _CLEARLY_LESS


@dataclass(kw_only=True)
class Search:
    """What was tried so far, and the best of what was accepted."""

    model: Model
    fitted: Images  # what is tuned on
    validation: Images  # what the trial sees
    seed: int
    trial: TrialOf
    most: int  # attempts, before the last one on all the images
    on_attempt: Callable[[Attempt], None] | None
    attempts: list[Attempt] = field(default_factory=list)
    best: Tried | None = None
    clear: int = 0  # attempts that met the policy and left no class that stands out

    def __post_init__(self) -> None:
        """Note what the network knew."""
        self.before = accuracy(self.model, self.validation)

    def climb(self, ladders: tuple[Ladder, ...]) -> str:
        """Try ladder after ladder; say why it ended."""
        for ladder in ladders:
            if why := self._along(ladder):
                return why
            if self.best is not None and not self.best.seen.stands_out:
                return self._ended("nothing milder was better")
        return self._ended("nothing was left to try")

    def _along(self, ladder: Ladder) -> str:
        """Go from rung to rung as the trials point; say why nothing more need be tried, if so."""
        rungs, place, been, countered = ladder.rungs, ladder.start, set[int](), 0
        while 0 <= place < len(rungs) and place not in been:
            if len(self.attempts) == self.most:
                return self._ended(f"the bound of {self.most} attempts was reached")
            been.add(place)
            tried = self._attempt(rungs[place], self.fitted)
            seen = None if tried is None else self._weighed(tried)
            if ladder.bold and place - 1 not in been and _costs_nothing(seen):
                return self._bolder(rungs[:place])
            if why := self._enough(seen):
                return why
            step = _direction(seen)
            if step == 0:
                break
            if step < 0 and seen is not None and seen.left and countered < _MOST_COUNTERED:
                rungs = tuple(_against(rung, seen.left) for rung in rungs)
                countered += 1
                if isinstance(rungs[place], Countering):
                    been.remove(place)
                    continue
            place = ladder.beyond(place) if tried is None else place + step
        return ""

    def _bolder(self, rungs: tuple[Purifier, ...]) -> str:
        """Go on to stronger `rungs`, the last first, while they cost nothing; say why it ended."""
        for rung in reversed(rungs):
            if len(self.attempts) == self.most:
                return self._ended(f"the bound of {self.most} attempts was reached")
            tried = self._attempt(rung, self.fitted)
            seen = None if tried is None else self._weighed(tried)
            if tried is None or not _costs_nothing(seen):
                return self._ended("the next stronger one lost more, left a trigger or diverged")
            self.best = tried
        return self._ended(
            "nothing stronger was left, and it lost half a point of accuracy at most"
        )

    def _weighed(self, tried: Tried) -> Trial:
        """Keep what was tried in the record, and as the best if it is; give what was seen of it."""
        self._keep(tried.attempt)
        if tried.seen.acceptable and tried.better_than(self.best):
            self.best = tried
        return tried.seen

    def settle(self, clean: Images) -> None:
        """Tune by the best setting again, longer and on all of `clean`, and keep that if it may be.

        No image is left on which its accuracy could be tried; verification has others.
        """
        chosen = self.best
        purify = None if chosen is None else for_good(chosen.purify, len(clean))
        if chosen is None or purify is None:
            return
        again = self._attempt(purify, clean, final=True)
        if again is None:
            return
        why = _unfit(again.seen, chosen.seen)
        attempt = replace(
            again.attempt,
            outcome="refused" if why else "accepted",
            message=f"{_FOR_GOOD.format(len(clean))}; {why or 'kept'}",
            measures={n: m for n, m in again.attempt.measures.items() if "trigger" in n},
            history=tuple(replace(epoch, accuracy=None) for epoch in again.attempt.history),
        )
        self._keep(attempt)
        if not why:
            self.best = replace(again, attempt=attempt)

    def _enough(self, seen: Trial | None) -> str:
        """Say why nothing more need be tried after `seen`, if so."""
        if seen is None or not seen.acceptable or seen.stands_out:
            return ""
        self.clear += 1
        if seen.accuracy_drop <= _CLEARLY_LESS:
            return f"an attempt {_word(seen)} and lost at most a point of accuracy"
        if self.clear == 2:
            return "two attempts were accepted; the milder is kept only if it lost clearly less"
        return ""

    def _ended(self, why: str) -> str:
        if self.best is not None:
            return f"an attempt {_word(self.best.seen)}; {why}"
        told = f"no attempt met the policy on the validation images ({len(self.attempts)} made)"
        return f"{told}; {why}"

    def _attempt(self, purify: Purifier, images: Images, *, final: bool = False) -> Tried | None:
        """Purify once; an attempt that collapses or diverges is recorded and gives nothing."""
        started = time.perf_counter()
        history: list[Epoch] = []
        try:
            purified, told = purify(
                self.model, images, seed=self.seed, validation=self.validation,
                on_epoch=watch(history, phases=phases_of(purify), before=self.before),
            )  # fmt: skip
        except (StepError, CollapsedError) as error:
            self._keep(
                Attempt(
                    method=purify.method,
                    settings={**_settings(purify), "images": len(images)},
                    seconds=time.perf_counter() - started,
                    outcome="diverged",
                    message=str(error),
                    history=tuple(history),
                    final=final,
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
            final=final,
        )
        return Tried(model=purified, purify=purify, attempt=attempt, seen=seen)

    def _keep(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)
        if self.on_attempt is not None:
            self.on_attempt(attempt)


def _word(seen: Trial) -> str:
    """Say how an accepted attempt stands to the policy."""
    if seen.by_chance:
        return "is over the policy's line by no more than chance"
    return "met the policy"


def _costs_nothing(seen: Trial | None) -> bool:
    """Tell whether an attempt did all that was wanted, and lost no accuracy to speak of."""
    if seen is None or not seen.acceptable or seen.stands_out:
        return False
    return seen.accuracy_drop <= _NOTHING


def _direction(seen: Trial | None) -> int:
    """-1: a stronger step; +1: a milder one; 0: another method."""
    if seen is None:
        return 1
    if seen.accuracy_lost:
        return 0 if seen.trigger_left else 1
    if seen.acceptable and not seen.stands_out:
        return 1
    return -1  # a trigger is left, or a class stands out


def _against(rung: Purifier, left: tuple[Trigger, ...]) -> Purifier:
    """Give `rung`, told to counter what an attempt left, where it can be told."""
    return rung.against(left) if isinstance(rung, Countering) else rung


def _unfit(again: Trial, chosen: Trial) -> str:
    """Say why the network that was tuned on all the images cannot take the chosen one's place."""
    if again.trigger_left:
        return "a trigger is left, so it is not kept"
    if again.accuracy_lost:
        return "it forgot even images that it was tuned on, so it is not kept"
    if again.stands_out and not chosen.stands_out:
        return "a class stands out that did not before, so it is not kept"
    return ""


def _settings(purify: Purifier) -> dict[str, Any]:
    """Give the plain settings of a purifier, to be told."""
    if not is_dataclass(purify):
        return {}
    held = {field.name: getattr(purify, field.name) for field in fields(purify)}
    held = {name: len(v) if isinstance(v, tuple) else v for name, v in held.items()}
    return {name: value for name, value in held.items() if isinstance(value, (str, int, float))}
