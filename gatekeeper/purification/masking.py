"""Learns masks round by round and tells the story: what all purifiers that mask weights share."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import ClassVar, Protocol

from gatekeeper.allocation import hold_freed_memory
from gatekeeper.model import Images, Model
from gatekeeper.purification.interface import OnEpoch, story
from gatekeeper.purification.masks import Masks, with_room
from gatekeeper.records import Attempt, Purification, Setting


class Lesson(Protocol):
    """What teaches masks, with all that it needs for a round."""

    masks: Masks

    def round(self, number: int) -> tuple[float, float]:
        """Teach the masks in round `number` (from 0); give the mean loss and the learning rate."""
        ...

    def settings_told(self) -> dict[str, Setting]:
        """Give what it was set to, and what it found, to be told."""
        ...


@dataclass(frozen=True, kw_only=True)
class Masking:
    """A purifier that masks weights; each method adds its settings and its lesson."""

    method: ClassVar[str]

    rounds: int
    batch: int

    def __call__(
        self,
        model: Model,
        clean: Images,
        *,
        seed: int,
        validation: Images | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> tuple[Model, Purification]:
        """Purify `model` on `clean`; where a GPU is out of memory, halve the batch once.

        Raises:
            StepError: the network has no convolution and no linear layer, or the GPU has no room.
            Diverged: the loss became NaN or infinite.
        """
        started = time.perf_counter()
        hold_freed_memory()

        def learn(batch: int) -> tuple[Model, Attempt]:
            lesson = replace(self, batch=batch).lesson(model, clean, seed)
            history = lesson.masks.learn(
                self.rounds, lesson.round, validation=validation, on_epoch=on_epoch
            )
            halved = f"the GPU was out of memory, so the batch was halved to {batch}"
            return lesson.masks.fold(), Attempt(
                method=self.method,
                settings={**lesson.settings_told(), "images": len(clean)},
                seconds=time.perf_counter() - started,
                outcome="accepted",
                message="the only attempt" if batch == self.batch else halved,
                history=history,
            )

        purified, attempt = with_room(learn, self.batch)
        return purified, story(attempt, model, seed)

    def lesson(self, model: Model, clean: Images, seed: int) -> Lesson:
        """Give what teaches the masks of a copy of `model`."""
        raise NotImplementedError

    def settings_told(self) -> dict[str, Setting]:
        """Give the settings that can be told."""
        return asdict(self)
