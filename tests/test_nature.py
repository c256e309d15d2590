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
from gatekeeper.nature import Nature, nature_of, take_off
from gatekeeper.own_calibration import Screened, draw
from gatekeeper.records import ScreenResult

IMAGES = "digest of some images"
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


def known(count: int, area: float = 0.004) -> dict[str, Screened]:
    return {
        f"{k}.pt": Screened(classes=NAMES, images=IMAGES, screens=easy(area + k / 1e4))
        for k in range(count)
    }


def test_a_class_that_is_easy_for_all_is_held_against_no_one_network() -> None:
    own = draw(BOTH, known(20))
    assert assess(easy(0.004), NAMES, BOTH, images=IMAGES).outcome == "suspicious"
    found = assess(easy(0.004), NAMES, own, images=IMAGES)
    assert found.outcome == "clean-looking"
    assert found.calibration.natural == 20
    assert found.calibration.threshold == own.references[-1].threshold


def test_a_class_that_is_easy_for_one_network_stands_out_the_more() -> None:
    own = draw(BOTH, known(4))
    planted = screens(
        trigger_inversion=result(
            0.004, by_class=[0.006 if k == 7 else v for k, v in enumerate(ten(0.004, usual=0.045))]
        )
    )
    assert assess(planted, NAMES, BOTH, images=IMAGES).suspected_class == "d"
    found = assess(planted, NAMES, own, images=IMAGES)
    assert found.outcome == "suspicious"
    assert found.suspected_class == "h"


def test_each_network_is_itself_held_against_the_others() -> None:
    """Two backdoored networks of four do not excuse themselves, as they would in one median."""
    odd = {f"odd{k}.pt": easy(0.002 + k / 1e4, place=5) for k in range(2)}
    seen = {
        **known(2, 0.045),
        **{name: Screened(classes=NAMES, images=IMAGES, screens=one) for name, one in odd.items()},
    }
    own = draw(BOTH, seen)
    for name, one in odd.items():
        others = [other.screens for k, other in seen.items() if k != name]
        nature = nature_of(NAMES, others, images=IMAGES)
        assert nature is not None
        held = assess(one, NAMES, BOTH.model_copy(update={"natures": (nature,)}), images=IMAGES)
        assert held.score in own.references[-1].clean
    inside = own.model_copy(update={"references": BOTH.references})
    excused = assess(odd["odd0.pt"], NAMES, inside, images=IMAGES).score
    assert excused is not None
    assert max(own.references[-1].clean) > excused + 0.1
    assert own.references[-1].threshold > BOTH.references[-1].threshold


def test_what_is_easy_by_nature_lifts_no_bound_of_other_networks() -> None:
    own = draw(BOTH, known(20))
    assert own.references[0] == BOTH.references[0]
    # and a report tells whose networks the rates are of
    assert assess(screens(), NAMES, own, images=IMAGES).calibration.own
    assert not assess(screens(), NAMES, own, images="others").calibration.own


def test_other_names_do_not_choose_what_a_network_is_held_against() -> None:
    own = draw(BOTH, known(4))
    for names in (tuple("ABCDEFGHIJ"), NAMES[::-1]):
        found = assess(screens(), names, own, images=IMAGES)
        assert found.outcome == "inconclusive"
        assert "by other names" in found.why_inconclusive[0]
    assert assess(easy(0.004), NAMES, own, images="others").outcome == "suspicious"
    assert assess(screens(), NAMES, own, images="others").outcome == "clean-looking"


def test_few_networks_or_others_classes_tell_nothing_of_nature() -> None:
    few = draw(BOTH, known(3))
    assert few.natures == ()
    assert few.references[-1] == BOTH.references[-1]
    own = draw(BOTH, known(4))
    assert assess(easy(0.004), NAMES[::-1], own, images=IMAGES).calibration.natural == 0
    # Where no reference was seen so, the network is judged as without any nature.
    own = own.model_copy(update={"references": own.references[:-1]})
    assert assess(easy(0.004), NAMES, own, images=IMAGES).calibration.natural == 0


@given(st.lists(WILD, min_size=3, max_size=5), WILD)
def test_whatever_was_measured_nature_is_numbers(rows: list[list[float]], one: list[float]) -> None:
    size = min(len(row) for row in [*rows, one])
    named = [f"{k}" for k in range(max(size, 2))]
    shown = [
        {name: result(by_class=tuple((row * 2)[: len(named)]))}
        for row in rows
        for name in ("trigger-inversion", "maximum-margin")
    ]
    nature = nature_of(named, shown, images=IMAGES)
    if nature is None:
        return
    found = take_off(nature, {"trigger-inversion": result(by_class=tuple((one * 2)[: len(named)]))})
    values = found["trigger-inversion"].by_class
    assert [value is None for value in values] == [
        value is None for value in (one * 2)[: len(named)]
    ]
    assert all(math.isfinite(value) for value in values if value is not None)


@pytest.mark.parametrize(
    "natures",
    [
        [
            {
                "classes": ["a", "b"],
                "images": "x",
                "networks": 4,
                "usual": {"trigger-inversion": [0.1]},
            }
        ],
        [{"classes": ["a", "b"], "images": "x", "networks": 4, "usual": {}}],
        [
            {
                "classes": ["a", "b"],
                "images": "x",
                "networks": 1,
                "usual": {"trigger-inversion": [0.1, 0.2]},
            }
        ],
        [
            {
                "classes": ["a", "b"],
                "images": "x",
                "networks": 4,
                "usual": {"last-layer": [0.1, 0.2]},
            }
        ],
        [
            {
                "classes": ["a", "b"],
                "images": "x",
                "networks": 4,
                "usual": {"trigger-inversion": [0.1, 1e9]},
            }
        ],
        [
            {
                "classes": ["a", "b"],
                "images": "x",
                "networks": 4,
                "usual": {"trigger-inversion": [0.1, 0.2]},
            }
        ]
        * 2,
    ],
)
def test_a_calibration_with_other_natures_is_refused(natures: list[dict[str, object]]) -> None:
    told = {**TOLD, "path": "x", "sha256": "0" * 64}
    assert Calibration.model_validate(told)
    with pytest.raises(ValueError, match="natures"):
        Calibration.model_validate({**told, "natures": natures})


def test_a_screen_of_other_classes_is_left_as_it_is() -> None:
    nature = Nature(
        classes=("a", "b"), images="x", networks=4, usual={"trigger-inversion": (0.0, 1.0)}
    )
    shown = {"trigger-inversion": result(by_class=(0.1, 0.2, 0.3)), "last-layer": result()}
    assert take_off(nature, shown) == shown


def test_six_networks_are_believed_three_quarters() -> None:
    nature = Nature(
        classes=("a", "b", "c"), images="x", networks=6,
        usual={"trigger-inversion": (-1.0, 0.0, 1.0), "maximum-margin": (2.0, 0.0, -2.0)},
    )  # fmt: skip
    shown = {
        "trigger-inversion": result(by_class=(0.01, None, 0.04)),
        "maximum-margin": result(by_class=(50.0, 20.0, 10.0)),
    }
    found = take_off(nature, shown)
    taken = math.exp(6 / 8)
    assert found["trigger-inversion"].by_class == pytest.approx((0.01 * taken, None, 0.04 / taken))
    margins = (50 / taken**2, 20.0, 10 * taken**2)
    assert found["maximum-margin"].by_class == pytest.approx(margins)


def test_each_screen_counts_by_the_networks_that_it_measured() -> None:
    whole = [easy(0.004 + k / 1e4) for k in range(3)]
    part = {"trigger-inversion": whole[0]["trigger-inversion"]}
    nature = nature_of(NAMES, [*whole, *[part] * 37], images="x")
    assert nature is not None
    assert nature.networks == 3
