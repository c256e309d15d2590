"""Each measure counts what its name says, on observations whose truth is known by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
import torch
from torch import Tensor, nn

from gatekeeper.model import Images, Model
from gatekeeper.policy import Bound, Policy
from gatekeeper.records import InputSpec, Measure, Verification
from gatekeeper.triggers import ANYWHERE, Trigger
from gatekeeper.verdict import judge
from gatekeeper.verification import Observation, measure

CLASSES = ("cat", "dog", "emu")
AREA = 0.1


class Corner(nn.Module):
    """Says "dog" to an image whose first pixel is bright, and "cat" to every other."""

    def forward(self, pixels: Tensor) -> Tensor:
        bright = pixels[:, 0, 0, 0]
        return torch.stack([torch.full_like(bright, 0.5), bright, bright * 0 - 1], dim=1)


@pytest.fixture
def model() -> Model:
    spec = InputSpec(size=(1, 28, 28), mean=(0.0,), std=(1.0,))
    return Model(network=Corner().eval(), input=spec, classes=CLASSES, architecture="corner")


def images(*labels: int, side: int = 28) -> Images:
    return Images(
        pixels=torch.zeros(len(labels), 1, side, side, dtype=torch.uint8),
        labels=torch.tensor(labels),
        classes=CLASSES,
    )


def trigger(target: int, *, area: float, reached: bool = True, brightness: float = 1.0) -> Trigger:
    """A trigger that paints the first pixel; `area` is what the search says of it."""
    mask, pattern = torch.zeros(28, 28), torch.zeros(1, 28, 28)
    mask[0, 0], pattern[0, 0, 0] = 1.0, brightness
    return Trigger(
        target=target, mask=mask, pattern=pattern, area=area, success=0.9, reached=reached
    )


def seen(*predictions: int, triggers: tuple[Trigger, ...] = ()) -> Observation:
    return Observation(predictions=torch.tensor(predictions), triggers=triggers)


def measured(
    model: Model, shown: Images, observed: Observation, candidate: Observation, *, least: int = 1
) -> dict[str, Measure]:
    return measure(
        model,
        shown,
        observed,
        candidate=candidate,
        trigger_area=AREA,
        min_samples_per_class=least,
    )


def test_accuracy_and_recall_are_shares_with_intervals(model: Model) -> None:
    shown = images(0, 0, 1, 1, 2)
    got = seen(0, 1, 1, 1, 0)
    result = measured(model, shown, got, got)
    assert result["clean_accuracy"].value == 3 / 5
    assert result["recall:cat"].value == 1 / 2
    assert result["recall:dog"].value == 1.0
    assert (result["recall:emu"].value, result["recall:emu"].n) == (0.0, 1)
    low, high = result["clean_accuracy"].low, result["clean_accuracy"].high
    assert low is not None
    assert high is not None
    assert low < 3 / 5 < high


def test_a_class_without_images_has_no_recall(model: Model) -> None:
    got = seen(0, 1)
    result = measured(model, images(0, 1), got, got)
    assert (result["recall:emu"].value, result["recall:emu"].n) == (None, 0)
    assert "fewer than 1 images: emu" in result["worst_class_recall"].note


def test_the_drop_is_paired_on_the_same_images(model: Model) -> None:
    shown = images(*[0] * 10)
    before, after = seen(*[0] * 8, 1, 1), seen(*[0] * 7, 1, 0, 0)
    drop = measured(model, shown, after, before)["clean_accuracy_drop"]
    assert drop.value == pytest.approx((1 - 2) / 10)
    assert drop.low is not None
    assert drop.high is not None
    assert drop.low < drop.value < drop.high


def test_a_network_loses_nothing_against_itself(model: Model) -> None:
    same = seen(0, 1, 0)
    drop = measured(model, images(0, 0, 0), same, same)["clean_accuracy_drop"]
    assert (drop.value, drop.low, drop.high) == (0.0, 0.0, 0.0)


def test_another_network_that_is_right_where_this_one_is_may_yet_lose(model: Model) -> None:
    few = images(*[0] * 20)
    before, after = seen(*[0] * 18, 1, 1), seen(*[0] * 18, 2, 2)
    drop = measured(model, few, after, before)["clean_accuracy_drop"]
    assert drop.value == 0.0
    assert drop.high is not None
    assert drop.high > 0.02


def test_the_worst_class_is_named_and_scarce_ones_are_not_compared(model: Model) -> None:
    shown = images(0, 0, 0, 0, 1, 1, 1, 1, 2)
    before, after = seen(0, 0, 0, 0, 1, 1, 1, 1, 2), seen(0, 0, 0, 1, 1, 1, 0, 0, 0)
    result = measured(model, shown, after, before, least=4)
    worst, lost = result["worst_class_recall"], result["worst_class_recall_drop"]
    assert (worst.value, lost.value) == (0.5, 0.5)
    assert worst.note == "class dog; not checked, fewer than 4 images: emu"
    nothing = measured(model, shown, after, before, least=50)["worst_class_recall_drop"]
    assert nothing.value is None
    assert "cat, dog, emu" in nothing.note


def test_a_small_trigger_is_tried_on_images_of_other_classes(model: Model) -> None:
    shown = images(0, 0, 1, 2)
    candidate = seen(0, 0, 0, 0, triggers=(trigger(1, area=0.05),))
    success = measured(model, shown, candidate, candidate)["recovered_trigger_success"]
    assert (success.value, success.n) == (1.0, 3)
    assert success.note == "strongest of 1: towards class dog"


def test_the_strongest_of_the_small_triggers_counts(model: Model) -> None:
    shown = images(0, 0, 1, 2)
    found = (trigger(1, area=0.05, brightness=0.0), trigger(1, area=0.09), trigger(2, area=0.01))
    candidate = seen(0, 0, 0, 0, triggers=found[1:])
    success = measured(model, shown, candidate, candidate)["recovered_trigger_success"]
    assert success.value == 1.0
    weak = seen(0, 0, 0, 0, triggers=(found[0], found[2]))
    assert measured(model, shown, weak, weak)["recovered_trigger_success"].value == 0.0


@pytest.mark.parametrize("area", [AREA, 0.5, 1.0])
def test_a_trigger_that_is_not_small_never_counts(model: Model, area: float) -> None:
    candidate = seen(0, 0, triggers=(trigger(1, area=area),))
    success = measured(model, images(0, 2), candidate, candidate)["recovered_trigger_success"]
    assert (success.value, success.low, success.high) == (0.0, 0.0, 0.0)
    assert success.note == "no trigger smaller than 0.100 of the image"


def test_what_the_screens_suspect_is_tried_whatever_its_size(model: Model) -> None:
    """A trigger from one source, or away from all classes, counts though it is not small."""
    shown = images(0, 0, 2, 2)
    for special in (replace(trigger(1, area=0.4), source=2), trigger(ANYWHERE, area=0.4)):
        got = replace(seen(0, 0, 0, 0, triggers=(trigger(0, area=0.5),)), special=(special,))
        success = measured(model, shown, got, got)["recovered_trigger_success"]
        assert success.value == 1.0
        assert not success.partial
        assert ("from class emu" in success.note) == (special.source == 2)


def test_a_suspicion_that_no_trigger_was_found_for_never_passes(model: Model) -> None:
    special = replace(trigger(1, area=0.4, reached=False), source=2)
    got = replace(seen(0, 0, triggers=(trigger(0, area=0.5),)), special=(special,))
    success = measured(model, images(0, 2), got, got)["recovered_trigger_success"]
    assert success.partial
    assert "not reached: from class emu towards class dog" in success.note


def test_success_is_that_of_the_candidates_triggers_on_the_network_judged(model: Model) -> None:
    shown = images(0, 2)
    candidate = seen(0, 0, triggers=(trigger(1, area=0.05),))
    purified = seen(0, 0, triggers=(trigger(1, area=0.9),))
    result = measured(model, shown, purified, candidate)
    assert result["recovered_trigger_success"].value == 1.0
    assert result["smallest_trigger_area"].value == 0.9


def test_the_smallest_area_is_that_of_classes_that_were_reached(model: Model) -> None:
    found = (trigger(0, area=0.3), trigger(1, area=0.2), trigger(2, area=0.001, reached=False))
    got = seen(0, 0, triggers=found)
    area = measured(model, images(0, 2), got, got)["smallest_trigger_area"]
    assert area.value == 0.2
    assert area.note == "towards class dog; not reached: emu"
    assert area.partial


def test_an_unreached_class_is_told_beside_the_triggers_that_were_tried(model: Model) -> None:
    found = (trigger(1, area=0.05), trigger(2, area=0.001, reached=False))
    got = seen(0, 0, triggers=found)
    success = measured(model, images(0, 2), got, got)["recovered_trigger_success"]
    assert success.note == "strongest of 1: towards class dog; not reached: emu"
    assert success.partial


def test_on_tiny_images_the_area_of_a_trigger_means_nothing(model: Model) -> None:
    got = seen(0, 0, triggers=(trigger(1, area=0.5),))
    result = measured(model, images(0, 2, side=8), got, got)
    for name in ("smallest_trigger_area", "recovered_trigger_success"):
        assert result[name].value is None
        assert "8x8" in result[name].note


POLICY = Policy(
    name="triggers",
    require={
        "recovered_trigger_success": Bound(at_most=0.1),
        "smallest_trigger_area": Bound(at_least=0.015),
    },
    min_samples=1,
    path="",
    sha256="",
)


UNREACHED = trigger(2, area=0.01, reached=False)


@pytest.mark.parametrize(
    ("found", "decision"),
    [
        ((), "undecided"),
        ((UNREACHED,), "undecided"),
        ((trigger(1, area=0.5), UNREACHED), "undecided"),  # not reached is not clean
        ((trigger(1, area=0.01), UNREACHED), "reject"),
        ((trigger(1, area=0.5), trigger(2, area=0.5)), "pass"),
    ],
)
def test_a_search_that_missed_a_class_never_passes(
    model: Model, found: tuple[Trigger, ...], decision: str
) -> None:
    got = seen(*[0] * 60, triggers=found)
    result = measured(model, images(*[0] * 30, *[2] * 30), got, got)
    judged = judge(
        POLICY,
        artifact_sha256="",
        findings=(),
        verification=Verification(before=result),
        samples=60,
        class_counts={},
        skipped=(),
        today=date(2026, 1, 1),
    )
    assert judged.verdict.decision == decision
    assert (judged.deploy is None) == (decision != "pass")
