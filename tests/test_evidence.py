"""Evidence points where a class stands out, and is a number whatever the screens measured."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.evidence import (
    LEAVING,
    PAIR,
    SCREEN_OF,
    closer_pair,
    gathered,
    values_for,
    weighed,
)
from gatekeeper.records import PairArea, ScreenResult

AREAS = st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=12)
WILD = st.lists(
    st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=12
)


def result(score: float | None = None, **more: Any) -> ScreenResult:
    return ScreenResult(score=score, outcome="not-flagged", **more)


def ten(value: float, *, usual: float, place: int = 3) -> tuple[float, ...]:
    """Ten classes, of which one differs."""
    return tuple(value if k == place else usual * (1 + k / 100) for k in range(10))


def test_the_class_that_several_screens_point_to_has_most_against_it() -> None:
    seen = gathered(
        {
            "trigger-inversion": result(by_class=ten(0.004, usual=0.04)),
            "maximum-margin": result(by_class=ten(60.0, usual=20.0)),
            "hidden-shift": result(by_class=ten(1.9, usual=2.0, place=7)),
            "universal-perturbation": result(by_class=ten(0.9, usual=0.1)),
        }
    )
    assert weighed(seen, dict.fromkeys(SCREEN_OF, 1.0), 10) == 3
    values = values_for(seen, 3)
    assert values["smaller-trigger"] is not None
    assert abs(values["smaller-trigger"] - math.log(10)) < 0.1
    assert values["larger-margin"] is not None
    assert abs(values["larger-margin"] - math.log(3)) < 0.1
    assert values[PAIR] is None
    assert values[LEAVING] is None


def test_classes_that_are_alike_are_close_but_not_one_pair_alone() -> None:
    usual = [PairArea(source=s, target=4, area=0.02 + 0.001 * s) for s in range(4)]
    alike = [PairArea(source=s, target=1 - s, area=0.004 + 0.0005 * s) for s in (0, 1)]
    planted = PairArea(source=2, target=3, area=0.001)
    natural = closer_pair([*usual, *alike])
    found = closer_pair([*usual, *alike, planted])
    assert natural is not None
    assert found is not None
    assert found[1:] == (2, 3)
    assert found[0] == pytest.approx(math.log(4))
    assert natural[0] < 0.2
    assert closer_pair([]) is None


def test_what_alone_was_reached_stands_out() -> None:
    """Where the search reached nothing else, the others need the whole image."""
    pair = closer_pair([PairArea(source=2, target=3, area=0.001)])
    assert pair is not None
    assert pair[0] > 3
    alone = result(by_class=(None,) * 3 + (0.01,) + (None,) * 6)
    (lone, small) = (
        gathered({"trigger-inversion": alone}).by_class[name]
        for name in ("lone-trigger", "smaller-trigger")
    )
    assert lone[3] == small[3] == 4.0
    assert all((value or 0) <= 0 for value in lone[:3])


@pytest.mark.parametrize("count", [2, 3])
def test_of_two_or_three_classes_nothing_can_be_said(count: int) -> None:
    """Any network sends images of two classes to all others, which is both of them."""
    areas = (0.001, *[0.05] * (count - 1))
    seen = gathered(
        {
            "trigger-inversion": result(by_class=areas),
            "maximum-margin": result(by_class=areas),
            "untargeted-inversion": result(0.05, destinations=tuple(range(count))),
        }
    )
    values = values_for(seen, 0)
    assert values.pop("small-trigger") == 3.0  # weighs nothing
    assert set(values.values()) == {None}


def test_leaving_counts_where_images_go_to_many_classes() -> None:
    spread = result(0.005, destinations=tuple((k + 1) % 10 for k in range(10)))
    one = result(0.005, destinations=(4,) * 10)
    values = [
        values_for(gathered({"untargeted-inversion": found}), None)[LEAVING]
        for found in (spread, one)
    ]
    assert values[0] is not None
    assert values[1] is not None
    assert values[0] > 3 * values[1]


@given(areas=AREAS, margins=WILD, shares=WILD, lengths=WILD)
def test_whatever_was_measured_gives_finite_numbers(
    areas: list[float | None],
    margins: list[float | None],
    shares: list[float | None],
    lengths: list[float | None],
) -> None:
    count = min(map(len, (areas, margins, shares, lengths)))
    screens = {
        "trigger-inversion": result(by_class=tuple(areas[:count])),
        "maximum-margin": result(by_class=tuple(margins[:count])),
        "universal-perturbation": result(by_class=tuple(shares[:count])),
        "hidden-shift": result(by_class=tuple(abs(one) if one else one for one in lengths[:count])),
    }
    seen = gathered(screens)
    target = weighed(seen, dict.fromkeys(SCREEN_OF, 1.0), count)
    assert target is not None
    assert 0 <= target < count
    values = values_for(seen, target).values()
    assert all(value is None or math.isfinite(value) for value in values)
