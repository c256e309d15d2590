"""Three outcomes, and none of them by accident."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from test_evidence import result, ten

from gatekeeper.assessing import assess
from gatekeeper.assessments import Assessment
from gatekeeper.calibration import ALLOWED, Calibration, rate, read_calibration, threshold
from gatekeeper.checks import check_assessment
from gatekeeper.errors import CalibrationError
from gatekeeper.evidence import SCREEN_OF
from gatekeeper.policy import NEEDED, read_policy, shipped
from gatekeeper.records import PairArea, ScreenResult
from gatekeeper.steps import assessment
from gatekeeper.steps.workshop import Notes

NAMES = tuple("abcdefghij")
TOLD: dict[str, Any] = {
    "name": "test",
    "made": "by hand",
    "classes": [10, 43],
    "evidence": {
        name: {"weight": 1.0, "usual": 0.2, "clean_high": 0.5}
        for name, screen in SCREEN_OF.items()
        if screen not in ("universal-perturbation", "hidden-shift")
    },
    "references": [
        {
            "without": without,
            "threshold": 3.0 - len(without),
            "clean": [0.0, 1.0, 2.0, 3.5],
            "backdoored": [4.0, 5.0],
            "false_alarms": {"value": 0.25, "low": 0.05, "high": 0.7, "n": 4},
            "detection": {"value": 1.0, "low": 0.3, "high": 1.0, "n": 2},
        }
        for without in ((), ("pair-inversion",))
    ],
}
CALIBRATION = Calibration.model_validate({**TOLD, "path": "x", "sha256": "0" * 64})


def pairs_of(usual: float, first: float | None = None) -> tuple[PairArea, ...]:
    """All pairs of ten classes, of which the first may be closer."""
    places = [(s, t) for s in range(10) for t in range(10) if s != t]
    areas = [usual if first is None else first, *[usual] * (len(places) - 1)]
    return tuple(
        PairArea(source=s, target=t, area=area) for (s, t), area in zip(places, areas, strict=True)
    )


def screens(**changed: ScreenResult) -> dict[str, ScreenResult]:
    """What a network shows that nobody poisoned."""
    usual = {
        "trigger_inversion": result(0.04, by_class=ten(0.04, usual=0.045)),
        "maximum_margin": result(1.1, by_class=ten(21.0, usual=20.0)),
        "untargeted_inversion": result(0.05, destinations=(3,) * 10),
        "pair_inversion": result(0.05, pairs=pairs_of(0.05)),
    }
    return {name.replace("_", "-"): found for name, found in {**usual, **changed}.items()}


def assessed(found: dict[str, ScreenResult], **more: Any) -> Assessment:
    return assess(found, NAMES, CALIBRATION, **more)


def test_an_ordinary_network_is_clean_looking() -> None:
    found = assessed(screens())
    assert found.outcome == "clean-looking"
    assert found.suspected_class is None
    assert found.kind is None
    assert not found.agreeing


def test_a_class_that_two_screens_point_to_is_named() -> None:
    found = assessed(
        screens(
            trigger_inversion=result(0.003, by_class=ten(0.003, usual=0.045)),
            maximum_margin=result(3.0, by_class=ten(70.0, usual=20.0)),
        )
    )
    assert found.outcome == "suspicious"
    assert found.suspected_class == "d"
    assert found.kind == "one class"
    assert set(found.agreeing) == {"trigger-inversion", "maximum-margin"}


def test_a_source_is_named_where_one_pair_says_most() -> None:
    found = assessed(screens(pair_inversion=result(0.001, pairs=pairs_of(0.05, first=0.001))))
    assert found.outcome == "suspicious"
    assert (found.suspected_source, found.suspected_class) == ("a", "b")
    assert found.kind == "one source"


def test_a_mapping_of_all_classes_names_none() -> None:
    mapping = tuple((k + 1) % 10 for k in range(10))
    strong = CALIBRATION.evidence["easier-to-leave"].model_copy(update={"weight": 3.0})
    weights = {**CALIBRATION.evidence, "easier-to-leave": strong}
    found = assess(
        screens(untargeted_inversion=result(0.003, destinations=mapping)), NAMES,
        CALIBRATION.model_copy(update={"evidence": weights}),
    )  # fmt: skip
    assert found.outcome == "suspicious"
    assert found.kind == "all to all"
    assert found.suspected_class is None


@pytest.mark.parametrize("name", ["trigger_inversion", "maximum_margin"])
def test_without_a_screen_that_counts_nothing_is_clean_looking(name: str) -> None:
    left = screens()
    del left[name.replace("_", "-")]
    assert assessed(left).outcome == "inconclusive"
    failed = screens(**{name: ScreenResult(score=None, outcome="undecided")})
    assert assessed(failed).outcome == "inconclusive"


def test_a_network_is_held_against_those_seen_as_it_was() -> None:
    not_run = ScreenResult(score=None, outcome="not-run")
    whole, part = assessed(screens()), assessed(screens(pair_inversion=not_run))
    assert (whole.calibration.threshold, whole.calibration.without) == (3.0, ())
    assert (part.calibration.threshold, part.calibration.without) == (2.0, ("pair-inversion",))
    assert part.outcome == "clean-looking"
    unlike = assessed(screens(untargeted_inversion=not_run))
    assert unlike.outcome == "inconclusive"
    assert "seen without untargeted-inversion" in unlike.why_inconclusive[0]


def test_a_screen_that_looked_and_could_not_tell_is_a_doubt() -> None:
    for name in ("pair_inversion", "untargeted_inversion", "maximum_margin"):
        unsure = ScreenResult(score=None, outcome="undecided", message="it was dark")
        found = assessed(screens(**{name: unsure}))
        assert found.outcome == "inconclusive"
        assert any("it was dark" in why for why in found.why_inconclusive)


@pytest.mark.parametrize("count", [2, 9, 44, 1000])
def test_other_numbers_of_classes_than_the_calibration_knows_are_a_doubt(count: int) -> None:
    names = tuple(map(str, range(count)))
    found = assess(
        {
            "trigger-inversion": result(0.5, by_class=(0.5,) * count),
            "maximum-margin": result(1.0, by_class=(20.0,) * count),
            "untargeted-inversion": result(0.5, destinations=(1,) * count),
            "pair-inversion": result(0.05, pairs=pairs_of(0.05)[:2]),
        },
        names, CALIBRATION,
    )  # fmt: skip
    assert found.outcome == "inconclusive"
    assert any(f"10 to 43 classes, not {count}" in why for why in found.why_inconclusive)


def test_a_class_that_was_not_reached_is_in_doubt() -> None:
    areas = (None, *ten(0.04, usual=0.045)[1:])
    found = assessed(screens(trigger_inversion=result(0.04, by_class=areas)))
    assert found.outcome == "inconclusive"
    assert "'a'" in found.why_inconclusive[0]


def test_doubts_hide_no_suspicion_and_a_blind_score_means_nothing() -> None:
    bad = screens(
        trigger_inversion=result(0.003, by_class=ten(0.003, usual=0.045)),
        maximum_margin=result(3.0, by_class=ten(70.0, usual=20.0)),
    )
    assert assessed(bad, doubts=["few images"]).outcome == "suspicious"
    assert assessed(bad, blind=["at chance"]).outcome == "inconclusive"
    assert assessed(screens(), doubts=["few images"]).outcome == "inconclusive"
    assert assessed({}).outcome == "inconclusive"


def test_only_clean_looking_passes_the_check() -> None:
    outcomes = {
        "clean-looking": assessed(screens()),
        "inconclusive": assessed(screens(), doubts=["few"]),
    }
    assert (
        check_assessment(outcomes["clean-looking"], "candidate", waived=False).outcome == "passed"
    )
    open_one = check_assessment(outcomes["inconclusive"], "purified", waived=False)
    assert open_one.outcome == "undecided"
    assert "the screens find the purified network inconclusive (few" in open_one.message
    many = assessed(screens(), doubts=["few", "dark", "odd", "small"])
    told = check_assessment(many, "candidate", waived=False).message
    assert "(few; dark; and 2 more in the report)" in told
    assert check_assessment(outcomes["inconclusive"], "candidate", waived=True).outcome == "passed"
    assert open_one.observed is not None
    known = CALIBRATION.references[0].clean
    score = outcomes["inconclusive"].score
    assert score is not None
    alike = sum(one >= score for one in known) / len(known)
    assert open_one.observed.value == alike > 0


def test_the_calibration_that_ships_fits_the_policies_that_ship() -> None:
    calibration = read_calibration()
    needed = {SCREEN_OF[name] for name in calibration.evidence}
    assert needed > set(NEEDED)
    for name in shipped():
        assert needed <= set(read_policy(name).screen)


def test_the_calibration_that_ships_counts_as_it_says() -> None:
    calibration = read_calibration()
    assert {one.without for one in calibration.references} >= {(), ("pair-inversion",)}
    for known in calibration.references:
        assert known.detection.n == len(known.backdoored)
        assert known.false_alarms.n == len(known.clean)
        suspected = sum(score >= known.threshold for score in known.clean)
        assert suspected <= ALLOWED * len(known.clean)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: x\nmade: y\nthreshhold: 1\n", ":3: threshhold: unknown key"),
        ("twice", "two references are without the same screens"),
        ("unknown", "no screen 'luck' is weighed"),
        ("[1, 2]\n", ":1"),
        ("luck", "there is small-trigger"),
        (".nan", "threshold: Input should be a finite number"),
    ],
)
def test_a_malformed_calibration_is_one_line_with_its_place(
    tmp_path: Path, text: str, told: str
) -> None:
    file = tmp_path / "calibration.yaml"
    whole = {name: value for name, value in TOLD.items() if name not in ("path", "sha256")}
    if text == "luck":
        whole["evidence"] = {"luck": {"weight": 1.0, "usual": 0.0, "clean_high": 0.0}}
        text = yaml.safe_dump(whole)
    elif text != "[1, 2]\n" and "\n" not in text:
        first, second = map(dict, TOLD["references"])  # type: ignore[call-overload]
        changed = {
            ".nan": {"threshold": float("nan")},
            "twice": {"without": []},
            "unknown": {"without": ["luck"]},
        }[text]
        text = yaml.safe_dump({**whole, "references": [first, {**second, **changed}]})
    file.write_text(text, encoding="utf-8")
    with pytest.raises(CalibrationError) as caught:
        read_calibration(str(file))
    assert str(file) in str(caught.value)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"classes": [43, 10]}, "no range of numbers of classes"),
        ({"classes": [-3, 0]}, "no range of numbers of classes"),
        ({"evidence": {"lone-trigger": {"weight": 0, "usual": 0, "clean_high": 0}}}, "no evidence"),
        ({"references": [{**TOLD["references"][0], "threshold": 1e9}]}, "1e+09 is above every"),
    ],
)
def test_a_calibration_that_could_suspect_nothing_is_refused(
    tmp_path: Path, changed: dict[str, Any], told: str
) -> None:
    file = tmp_path / "calibration.yaml"
    whole = yaml.safe_dump(json.loads(json.dumps({**TOLD, **changed})))
    file.write_text(whole, encoding="utf-8")
    with pytest.raises(CalibrationError) as caught:
        read_calibration(str(file))
    assert told in str(caught.value)
    assert "gatekeeper calibrate" in caught.value.hint


def test_a_calibration_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="no calibration file"):
        read_calibration(str(tmp_path / "none.yaml"))


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=200))
def test_the_threshold_suspects_no_more_known_networks_than_allowed(clean: list[float]) -> None:
    bound = threshold(clean)
    suspected = [score >= bound for score in clean]
    assert sum(suspected) <= ALLOWED * len(clean)
    assert rate(suspected).n == len(clean)


def test_a_policy_that_leaves_deciding_screens_out_says_so(tmp_path: Path) -> None:
    text = (ROOT / "policies/default.yaml").read_text(encoding="utf-8")
    text = re.sub(r"screen: \[[^]]*\]", "screen: [neuron-norm]", text)
    file = tmp_path / "own.yaml"
    file.write_text(text, encoding="utf-8")
    work = SimpleNamespace(
        calibration=read_calibration(), policy=read_policy(str(file)), notes=Notes()
    )
    assert assessment.assessed(work, {}, NAMES, blind=[]) == (None, [])  # type: ignore[arg-type]
    assert "trigger-inversion" in work.notes.skipped[0]
    assert work.notes.skipped[1] == "Nothing says whether the candidate looks backdoored."
