"""One table tests every purifier; the assertion is what it promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from conftest import fresh_network

from gatekeeper.errors import StepError
from gatekeeper.model import Images, Model
from gatekeeper.purification import FTSAM, PURIFIERS, FineTune
from gatekeeper.purification.auto import Auto, Trial
from gatekeeper.records import Purification
from gatekeeper.redteam import BadNets, attack_success
from gatekeeper.training import Recipe, predictions

Purify = Callable[[Model, Images], tuple[Model | None, Purification]]


def accuracy(model: Model, images: Images) -> float:
    return float((predictions(model, images) == images.labels).float().mean())


def by_clean_accuracy(before: float, validation: Images) -> Callable[[Model], Trial]:
    """What a caller could see at the least: how much accuracy an attempt lost."""

    def trial(tuned: Model) -> Trial:
        drop = before - accuracy(tuned, validation)
        return Trial(acceptable=drop <= 0.02, accuracy_drop=drop, message=f"lost {drop:.3f}")

    return trial


def auto(model: Model, clean: Images) -> tuple[Model | None, Purification]:
    _, validation = Auto().divide(clean, 0)
    trial = by_clean_accuracy(accuracy(model, validation), validation)
    return Auto()(model, clean, seed=0, trial=trial)


PROMISES: dict[str, tuple[Purify, float]] = {
    # name: how it is called, and the largest true attack success that it may leave
    "auto": (auto, 0.05),
    "ft-sam": (lambda m, c: FTSAM(lr=0.1, epochs=25, schedule="cosine")(m, c, seed=0), 0.05),
    "ft": (lambda m, c: FineTune(epochs=10)(m, c, seed=0), 1.0),  # promises accuracy alone
}


@pytest.fixture(scope="module")
def parts(held_out: Images) -> tuple[Images, Images]:
    return held_out.select(torch.arange(360)), held_out.select(torch.arange(360, len(held_out)))


def test_every_purifier_stands_in_the_table() -> None:
    assert set(PROMISES) == {"auto", *PURIFIERS}


@pytest.mark.parametrize("name", PROMISES)
def test_a_purifier_keeps_its_promise(
    name: str, backdoored: Model, parts: tuple[Images, Images], attack: BadNets
) -> None:
    clean, unseen = parts
    before = {key: tensor.clone() for key, tensor in backdoored.network.state_dict().items()}
    purify, most = PROMISES[name]
    purified, told = purify(backdoored, clean)
    assert purified is not None
    assert all(torch.equal(before[k], t) for k, t in backdoored.network.state_dict().items())
    assert accuracy(purified, unseen) >= accuracy(backdoored, unseen) - 0.02
    assert attack_success(purified, attack, unseen) <= most
    assert told.method == name
    assert told.attempts
    assert told.attempts[-1].history


def test_auto_keeps_every_attempt_and_gives_nothing_that_nobody_accepts(
    backdoored: Model, parts: tuple[Images, Images]
) -> None:
    refuse = Trial(acceptable=False, accuracy_drop=0.5, message="refused")
    quick = Auto(most_attempts=2, steps=2, least_epochs=1)
    purified, told = quick(backdoored, parts[0], seed=0, trial=lambda _: refuse)
    assert purified is None
    assert [attempt.outcome for attempt in told.attempts] == ["refused", "refused"]
    assert len({attempt.settings["lr"] for attempt in told.attempts}) == 2
    assert "no attempt met the policy" in told.stopped_because


class Hot(Auto):
    """A ladder whose only step is far too hot."""

    def ladder(self, network: torch.nn.Module, images: int, side: int) -> list[Recipe]:
        return [replace(super().ladder(network, images, side)[0], lr=50.0, rho=8.0)]


def test_auto_stops_an_attempt_that_forgets(
    parts: tuple[Images, Images], clean_model: Model
) -> None:
    accept = Trial(acceptable=True, accuracy_drop=0.0, message="never asked")
    purified, told = Hot()(clean_model, parts[0], seed=0, trial=lambda _: accept)
    assert purified is None
    assert told.attempts[0].outcome == "diverged"
    assert len(told.attempts[0].history) < told.attempts[0].settings["epochs"]  # type: ignore[operator]


def test_auto_divides_by_class_without_overlap(held_out: Images) -> None:
    tune, validation = Auto().divide(held_out, 7)
    assert len(tune) + len(validation) == len(held_out)
    assert validation.labels.bincount().min() >= 15
    seen = {bytes(pixels.numpy().tobytes()) for pixels in tune.pixels}
    both = [p for p in validation.pixels if bytes(p.numpy().tobytes()) in seen]
    assert len(both) <= 2  # two people may write the very same digit


def test_the_ladder_is_gentle_where_no_normalisation_follows() -> None:
    with_norms = Auto().ladder(fresh_network().network, 300, 32)
    without = Auto().ladder(torch.nn.Linear(4, 4), 300, 32)
    assert max(recipe.rho for recipe in without) < min(recipe.rho for recipe in with_norms)
    assert all(recipe.clip > 0 for recipe in without)


def test_auto_needs_images_to_choose_by(backdoored: Model, held_out: Images) -> None:
    one_each = held_out.select(
        torch.stack([(held_out.labels == k).nonzero()[0, 0] for k in range(10)])
    )
    accept = Trial(acceptable=True, accuracy_drop=0.0, message="never asked")
    with pytest.raises(StepError, match="10 clean images are too few"):
        Auto()(backdoored, one_each, seed=0, trial=lambda _: accept)


@pytest.mark.parametrize("each", [2, 3])
def test_auto_keeps_one_of_two(each: int, held_out: Images) -> None:
    few = torch.cat([(held_out.labels == k).nonzero().flatten()[:each] for k in range(10)])
    fitted, validation = Auto().divide(held_out.select(few), 0)
    assert (len(fitted), len(validation)) == (10 * (each - 1), 10)
