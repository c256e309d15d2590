"""What `auto` chose is tuned once more on all the images, and kept where it may be."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
import torch
from laid import EASY, FORGOT, KEEP, LOSES, TRIGGER, Laid
from torch import nn

from gatekeeper.model import Images, Model
from gatekeeper.purification.interface import story
from gatekeeper.purification.plan import Ladder
from gatekeeper.purification.trial import Trial
from gatekeeper.purification.tuning import Tuning
from gatekeeper.records import Attempt, Epoch, Measure, Purification

BOTH_SEEN = ("clean_accuracy_drop", "smallest_trigger_area")


@pytest.fixture(scope="module")
def parts(held_out: Images) -> tuple[Images, Images]:
    return held_out.select(torch.arange(360)), held_out.select(torch.arange(360, len(held_out)))


@dataclass(frozen=True, kw_only=True)
class Tuned(Tuning):
    """Only writes down how it was called; `falls`: when that is on all the images."""

    method: ClassVar[str] = "scripted"

    made: list[dict[str, Any]] = field(default_factory=list)
    epochs: int = 10
    batch: int = 68
    falls: bool = False

    def __call__(
        self, model: Model, clean: Images, *, seed: int, **how: Any
    ) -> tuple[Model, Purification]:
        given = model.clone()
        told = {"images": len(clean), "epochs": self.epochs, "batch": self.batch}
        self.made.append({**told, "network": given.network})
        if self.falls and len(self.made) == 2:
            for epoch in range(1, self.epochs + 1):
                how["on_epoch"](Epoch(epoch=epoch, loss=1.0, learning_rate=0.1, accuracy=0.1))
        line = Epoch(epoch=1, loss=1.0, learning_rate=0.1, accuracy=0.9)
        attempt = Attempt(
            method=self.method, settings=dict(told), seconds=0.0, outcome="accepted", message="",
            history=(line,),
        )  # fmt: skip
        return given, story(attempt, model, seed)


def settled(
    model: Model, clean: Images, first: Trial, again: Trial, *, falls: bool = False
) -> tuple[nn.Module | None, Purification, Tuned]:
    """What `auto` gives where the only rung is seen as `first`, and on all images as `again`."""
    rung = Tuned(falls=falls)
    auto = Laid(laid=(Ladder(rungs=(rung,)),))

    def trial(_: Model) -> Trial:
        seen = first if len(rung.made) == 1 else again
        return replace(seen, measures={n: Measure(name=n, value=0.0) for n in BOTH_SEEN})

    purified, told = auto(model, clean, seed=0, trial=trial)
    return (purified.network if purified else None), told, rung


@pytest.mark.parametrize(
    ("first", "again", "why"),
    [
        (KEEP, KEEP, ""),
        (LOSES, LOSES, ""),
        (EASY, KEEP, ""),
        (EASY, EASY, ""),
        (KEEP, TRIGGER, "a trigger is left"),
        (KEEP, FORGOT, "it forgot"),
        (KEEP, EASY, "a class stands out that did not before"),
    ],
)
def test_what_was_chosen_is_tuned_once_more_on_all_the_images(
    first: Trial, again: Trial, why: str, parts: tuple[Images, Images], clean_model: Model
) -> None:
    purified, told, rung = settled(clean_model, parts[0], first, again)
    search, last = told.attempts
    assert (search.settings["images"], last.settings["images"]) == (270, 360)
    assert (search.settings["epochs"], last.settings["epochs"]) == (10, 16)
    assert last.settings["batch"] == 90  # equal batches of all the images
    assert (search.final, last.final) == (False, True)
    assert purified is rung.made[0 if why else 1]["network"]
    assert told.settings["images"] == (270 if why else 360)
    assert last.outcome == ("refused" if why else "accepted")
    assert (why or "; kept") in last.message
    stands_out = "a class still stands out" in told.stopped_because
    assert stands_out is (first.stands_out and again.stands_out)


def test_accuracy_on_images_that_were_tuned_on_is_not_told(
    parts: tuple[Images, Images], clean_model: Model
) -> None:
    _, told, _ = settled(clean_model, parts[0], KEEP, replace(KEEP, message="accuracy 100 %"))
    search, last = told.attempts
    assert set(search.measures) == set(BOTH_SEEN)
    assert set(last.measures) == {"smallest_trigger_area"}
    assert "100 %" not in last.message
    assert [epoch.accuracy for epoch in (*search.history, *last.history)] == [0.9, None]


def test_where_tuning_on_all_the_images_collapses_the_chosen_network_stays(
    parts: tuple[Images, Images], clean_model: Model
) -> None:
    purified, told, rung = settled(clean_model, parts[0], KEEP, KEEP, falls=True)
    assert purified is rung.made[0]["network"]
    assert told.settings["images"] == 270
    last = told.attempts[-1]
    assert (last.outcome, last.final, last.settings["images"]) == ("diverged", True, 360)
    assert len(last.history) < 16


def test_where_all_images_served_already_nothing_is_tuned_again(
    parts: tuple[Images, Images], clean_model: Model
) -> None:
    first = torch.stack([(parts[0].labels == k).nonzero()[0, 0] for k in range(10)])
    _, told, _ = settled(clean_model, parts[0].select(first), KEEP, KEEP)
    assert len(told.attempts) == 1
