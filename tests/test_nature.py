"""What clean networks of a task find easy is no mark of a backdoor; what only one finds easy is."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_assessing import CALIBRATION, NAMES, TOLD, screens
from test_evidence import WILD, result, ten

from gatekeeper.assessing import assess
from gatekeeper.calibration import Calibration
from gatekeeper.nature import Nature, beyond, nature_of
from gatekeeper.own_calibration import Seen, drawn
from gatekeeper.records import ScreenResult

BOTH = CALIBRATION.model_copy(
    update={
        "references": (
            *CALIBRATION.references,
            CALIBRATION.references[0].model_copy(update={"natural": True, "threshold": 2.5}),
        )
    }
)


def easy(area: float, place: int = 3) -> dict[str, ScreenResult]:
    """Screens of a network one of whose classes needs little."""
    shown = ten(area, usual=0.045, place=place)
    return screens(trigger_inversion=result(area, by_class=shown))


def known(count: int, area: float = 0.004) -> dict[str, Seen]:
    return {f"{k}.pt": Seen(classes=NAMES, screens=easy(area + k / 1e4)) for k in range(count)}


def test_a_class_that_is_easy_for_all_is_held_against_no_one_network() -> None:
    own = drawn(BOTH, known(20))
    assert assess(easy(0.004), NAMES, BOTH).outcome == "suspicious"
    found = assess(easy(0.004), NAMES, own)
    assert found.outcome == "clean-looking"
    assert found.calibration.natural == 20
    assert found.calibration.threshold == own.references[-1].threshold


def test_a_class_that_is_easy_for_one_network_stands_out_the_more() -> None:
    own = drawn(BOTH, known(4))
    planted = screens(
        trigger_inversion=result(
            0.004, by_class=[0.006 if k == 7 else v for k, v in enumerate(ten(0.004, usual=0.045))]
        )
    )
    assert assess(planted, NAMES, BOTH).suspected_class == "d"
    found = assess(planted, NAMES, own)
    assert found.outcome == "suspicious"
    assert found.suspected_class == "h"


def test_each_network_is_itself_held_against_the_others() -> None:
    """One backdoored network among the clean ones does not excuse itself."""
    seen = {**known(3, 0.045), "odd.pt": Seen(classes=NAMES, screens=easy(0.002))}
    own = drawn(BOTH, seen)
    assert [nature.networks for nature in own.natures] == [4]
    assert max(own.references[-1].clean) > 2 * sorted(own.references[-1].clean)[-2]
    assert own.references[-1].threshold > BOTH.references[-1].threshold


def test_few_networks_or_others_classes_tell_nothing_of_nature() -> None:
    few = drawn(BOTH, known(3))
    assert few.natures == ()
    assert few.references[-1] == BOTH.references[-1]
    own = drawn(BOTH, known(4))
    others = tuple(reversed(NAMES))
    assert assess(easy(0.004), others, own).calibration.natural == 0
    # Where no reference was seen so, the network is judged as without any nature.
    own = own.model_copy(update={"references": own.references[:-1]})
    assert assess(easy(0.004), NAMES, own).calibration.natural == 0


@given(st.lists(WILD, min_size=3, max_size=5), WILD)
def test_whatever_was_measured_nature_is_numbers(rows: list[list[float]], one: list[float]) -> None:
    size = min(len(row) for row in [*rows, one])
    named = [f"{k}" for k in range(max(size, 2))]
    shown = [
        {name: result(by_class=tuple((row * 2)[: len(named)]))}
        for row in rows
        for name in ("trigger-inversion", "maximum-margin")
    ]
    nature = nature_of(named, shown)
    if nature is None:
        return
    found = beyond(nature, {"trigger-inversion": result(by_class=tuple((one * 2)[: len(named)]))})
    values = found["trigger-inversion"].by_class
    assert [value is None for value in values] == [
        value is None for value in (one * 2)[: len(named)]
    ]
    assert all(math.isfinite(value) for value in values if value is not None)


@pytest.mark.parametrize(
    "natures",
    [
        [{"classes": ["a", "b"], "networks": 4, "usual": {"trigger-inversion": [0.1]}}],
        [{"classes": ["a", "b"], "networks": 4, "usual": {}}],
        [{"classes": ["a", "b"], "networks": 1, "usual": {"trigger-inversion": [0.1, 0.2]}}],
        [{"classes": ["a", "b"], "networks": 4, "usual": {"last-layer": [0.1, 0.2]}}],
        [{"classes": ["a", "b"], "networks": 4, "usual": {"trigger-inversion": [0.1, 1e9]}}],
        [{"classes": ["a", "b"], "networks": 4, "usual": {"trigger-inversion": [0.1, 0.2]}}] * 2,
    ],
)
def test_a_calibration_with_other_natures_is_refused(natures: list[dict[str, object]]) -> None:
    told = {**TOLD, "path": "x", "sha256": "0" * 64}
    assert Calibration.model_validate(told)
    with pytest.raises(ValueError, match="natures"):
        Calibration.model_validate({**told, "natures": natures})


def test_a_screen_of_other_classes_is_left_as_it_is() -> None:
    nature = Nature(classes=("a", "b"), networks=4, usual={"trigger-inversion": (0.0, 1.0)})
    shown = {"trigger-inversion": result(by_class=(0.1, 0.2, 0.3)), "last-layer": result()}
    assert beyond(nature, shown) == shown
