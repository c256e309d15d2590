"""The calibration that ships is what its rows give, and judges families that it has not seen."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from calibration_fit import Judged, fit, left_out, natures, screens_of, shown  # noqa: E402

from gatekeeper.assessing import assess  # noqa: E402
from gatekeeper.calibration import read_calibration  # noqa: E402


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """Networks of the zoo that count."""
    every = json.loads((BENCHMARKS / "results/screening.json").read_text())["rows"]
    return [row for row in every if row["kind"] in ("clean", "backdoored")]


def test_a_scan_scores_the_zoo_as_the_calibration_says(rows: list[dict[str, Any]]) -> None:
    calibration = read_calibration()
    for kind in ("clean", "backdoored"):
        found = [
            assess(screens_of(row), tuple(map(str, range(row["classes"]))), calibration)
            for row in rows
            if row["kind"] == kind
        ]
        scores = sorted(one.score for one in found if one.score is not None)
        assert scores == pytest.approx(getattr(calibration.references[0], kind), abs=0.02)
        assert all(one.calibration.without == () for one in found)


def test_beside_known_networks_too(rows: list[dict[str, Any]]) -> None:
    calibration, usual = read_calibration(), natures(rows)
    reference = calibration.reference((), natural=True)
    assert reference is not None
    scores: dict[str, list[float]] = {"clean": [], "backdoored": []}
    for row in rows:
        nature = usual[row["member"]]
        assert nature is not None
        known = calibration.model_copy(update={"natures": (nature,)})
        found = assess(screens_of(row), nature.classes, known, images=row["data"])
        assert found.calibration.natural == nature.networks
        scores[row["kind"]].append(found.score or 0.0)
    assert sorted(scores["clean"]) == pytest.approx(reference.clean, abs=0.02)
    assert sorted(scores["backdoored"]) == pytest.approx(reference.backdoored, abs=0.02)


def test_the_rates_are_those_of_families_left_out(rows: list[dict[str, Any]]) -> None:
    for reference in read_calibration().references:
        judged = left_out(rows, without=reference.without, natural=reference.natural)
        for kind, told in (
            ("clean", reference.false_alarms),
            ("backdoored", reference.detection),
        ):
            suspected = [
                one.suspected for row, one in zip(rows, judged, strict=True) if row["kind"] == kind
            ]
            assert sum(suspected) / len(suspected) == pytest.approx(told.value, abs=1e-4)
            assert len(suspected) == told.n


def test_a_family_is_judged_without_its_own_networks(rows: list[dict[str, Any]]) -> None:
    """A family whose clean networks all score high is suspected, and raises no bound for itself."""
    family = rows[0]["family"]
    loud = [
        {**row, "areas": [0.0005, *[0.2] * (row["classes"] - 1)]}
        if row["family"] == family and row["kind"] == "clean"
        else row
        for row in rows
    ]
    own = [
        one for row, one in zip(loud, left_out(loud), strict=True)
        if row["family"] == family and row["kind"] == "clean"
    ]  # fmt: skip
    assert own
    assert all(one.suspected for one in own)


def test_the_bound_is_one() -> None:
    assert Judged(score=1.0, target=None).suspected
    assert not Judged(score=0.999, target=None).suspected


def test_weights_come_from_clean_networks_alone(rows: list[dict[str, Any]]) -> None:
    clean = [row for row in rows if row["kind"] == "clean"]
    assert fit(rows) == fit(clean)
    assert shown(clean[0], ("pair-inversion",)).pair is None
