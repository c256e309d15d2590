"""`method: auto`: search a method and a strength that fit, then tune by them on all the images.

Part of the images is kept from tuning, to choose by (`search.py`). What was chosen is tuned once
more on all of them: on a small clean set, every image counts. No setting was fitted to a true
attack success.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from gatekeeper.model import Images, Model
from gatekeeper.purification.plan import FEW, Ladder, handful, plan
from gatekeeper.purification.search import Search
from gatekeeper.purification.trial import TrialOf
from gatekeeper.records import Attempt, Purification


@dataclass(frozen=True, kw_only=True)
class Auto:
    """`validation_share` of the images are kept from the search, to choose by."""

    most_attempts: int = 10
    validation_share: float = 0.25

    def divide(self, clean: Images, seed: int) -> tuple[Images, Images]:
        """Split `clean` by chance and class into images to tune on and images to choose by.

        A class of fewer than 4 images keeps none to choose by; where the images are fewer than 4
        times the classes, all of them serve for both.
        """
        if handful(clean):
            return clean, clean
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(clean), generator=generator).to(clean.labels.device)
        labels = clean.labels[order]
        kept: list[torch.Tensor] = []
        for label in range(len(clean.classes)):
            members = order[labels == label]
            if len(members) >= FEW:
                kept.append(members[: max(1, round(self.validation_share * len(members)))])
        mask = torch.zeros(len(clean), dtype=torch.bool, device=clean.labels.device)
        mask[torch.cat(kept)] = True
        return clean.select(~mask), clean.select(mask)

    def ladders(self, model: Model, fitted: Images, seed: int) -> tuple[Ladder, ...]:
        """Give what may be tried, in order."""
        return plan(model, fitted, seed=seed)

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
        search = Search(
            model=model, fitted=fitted, validation=validation, seed=seed, trial=trial,
            most=self.most_attempts, on_attempt=on_attempt,
        )  # fmt: skip
        told = search.climb(self.ladders(model, fitted, seed))
        if fitted is clean:
            told += "; for want of images, choosing used those that were tuned on"
        else:
            search.settle(clean)
        best = search.best
        if best is not None and best.seen.stands_out:
            told += "; a class still stands out in what was kept"
        purification = Purification(
            method="auto",
            settings={"method": best.attempt.method, **best.attempt.settings} if best else {},
            seed=seed,
            device=str(model.device),
            seconds=time.perf_counter() - started,
            attempts=tuple(search.attempts),
            stopped_because=told,
        )
        return (best.model if best else None), purification
