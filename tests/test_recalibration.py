"""An organisation's own clean networks move the bound of suspicion, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from candidates import gatekeeper, save_candidate, save_images
from conftest import fresh_network
from test_assessing import CALIBRATION, NAMES, screens

from gatekeeper.calibration import read_calibration
from gatekeeper.model import Images, Model
from gatekeeper.nature import Nature
from gatekeeper.own_calibration import Scores, Screened, move, scores_of
from gatekeeper.recalibration import Recalibration, fitting
from gatekeeper.recalibration_lines import told
from gatekeeper.records import ScreenResult

SHIPPED = CALIBRATION.references[0]


def scored(*scores: float) -> list[Scores]:
    return [{((), False): score} for score in scores]


def test_few_networks_may_raise_the_bound_and_not_lower_it() -> None:
    low, high = (
        move(CALIBRATION, scored(0.1, 0.2, last), classes=(2, 10)).references[0]
        for last in (0.3, 4.5)
    )
    assert low.threshold == SHIPPED.threshold
    assert high.threshold > 4.5
    assert high.detection.value == 0.5  # of the calibration's two, at the new bound
    assert high.clean == (0.1, 0.2, 4.5)
    assert high.false_alarms.n == 3
    # A bound drawn from the other two would have suspected the third.
    assert (low.false_alarms.value, high.false_alarms.value) == (0, pytest.approx(1 / 3))


def test_many_networks_may_lower_it() -> None:
    after = move(CALIBRATION, scored(*(k / 100 for k in range(40))), classes=(2, 10))
    first, second, *_ = after.references
    assert first.threshold < 0.4 < SHIPPED.threshold
    assert first.false_alarms.value <= 0.05
    assert after.evidence == CALIBRATION.evidence
    assert second == CALIBRATION.references[1]


def test_a_network_counts_where_it_was_seen_by_the_same_screens() -> None:
    whole = scores_of(Screened(classes=NAMES, images="x", screens=screens()), CALIBRATION)
    assert whole.keys() == {((), False), (("pair-inversion",), False)}
    assert whole[(), False] >= whole[("pair-inversion",), False]
    part = screens(pair_inversion=ScreenResult(score=None, outcome="not-run"))
    kept = scores_of(Screened(classes=NAMES, images="x", screens=part), CALIBRATION)
    assert kept.keys() == {(("pair-inversion",), False)}


def test_what_has_no_room_in_a_file_that_is_read_is_left_out_and_told(tmp_path: Path) -> None:
    shipped = read_calibration()
    classes = tuple(f"class {k:01000}" for k in range(200))
    natures = tuple(
        Nature(
            classes=classes, images=f"images {networks}", networks=networks,
            usual={"maximum-margin": (0.5,) * len(classes)},
        )
        for networks in (5, 9, 7, 8)
    )  # fmt: skip
    huge = natures[0].model_copy(
        update={"classes": tuple(f"{k:01000}" for k in range(600)), "networks": 20,
                "usual": {"maximum-margin": (0.5,) * 600}}
    )  # fmt: skip
    natures = (*natures, huge)
    crowded = shipped.model_copy(update={"natures": natures})
    kept = fitting(crowded)
    assert [nature.networks for nature in kept.natures] == [9, 8]
    assert fitting(shipped) == shipped
    done = Recalibration(
        file=tmp_path / "own.yaml", used=("one",), left_out={}, before=shipped, after=kept,
        crowded=2,
    )  # fmt: skip
    *_, crowding, few, written = told(done).splitlines()
    assert "no room in the file for 2 of the tasks" in crowding
    assert "could rise, but not fall" in few
    assert written.startswith("Written: ")


def test_wrong_input_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "there.yaml").write_text("kept", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    (tmp_path / "one").mkdir()
    torch.save({"odd": torch.zeros(3, 3)}, tmp_path / "one/odd.pt")
    for words, line in (
        (["--models", "none"], "none is no folder"),
        (["--models", "empty", "--out", "there.yaml"], "there.yaml exists"),
        (["--models", "empty"], "only 0 of 0 networks under empty can be scored"),
        (["--models", "one"], "no clean images to screen the networks on"),
        (["--models", "one", "--data", "nowhere"], "gatekeeper: no images at nowhere"),
    ):
        done = gatekeeper("calibrate", *words, cwd=tmp_path)
        assert done.returncode == 2
        assert line in done.stderr
        assert "Traceback" not in done.stderr
    assert (tmp_path / "there.yaml").read_text(encoding="utf-8") == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "one", "there.yaml"]


def test_what_is_left_out_is_told_with_what_to_do(tmp_path: Path, held_out: Images) -> None:
    (tmp_path / "models").mkdir()
    torch.save({"odd": torch.zeros(3, 3)}, tmp_path / "models/odd.pt")
    (tmp_path / "models/torn.onnx").write_bytes(b"no graph")
    save_images(held_out, tmp_path / "clean.npz")
    done = gatekeeper(
        "calibrate", "--models", "models", "--data", "clean.npz", "--out", "own.yaml", cwd=tmp_path
    )
    assert done.returncode == 2
    assert "only 0 of 2 networks" in done.stderr
    assert "torn.onnx: " in done.stderr
    assert "odd.pt: no card names an architecture" in done.stderr
    assert "Give --card FILE" in done.stderr


@pytest.mark.slow
def test_known_clean_networks_make_a_calibration_that_a_scan_takes(
    tmp_path: Path, clean_model: Model, held_out: Images
) -> None:
    models = tmp_path / "models"
    for number, name in enumerate(("one", "two", "three", "four")):
        other = clean_model.clone()
        with torch.no_grad():
            next(other.network.parameters()).mul_(1 + number / 1e3)
        save_candidate(other, models / name)
    save_candidate(clean_model, models / "twin")
    save_candidate(fresh_network(), models / "untrained")
    (models / "broken.pt").write_bytes(b"no model")
    save_images(held_out, tmp_path / "clean.npz")
    done = gatekeeper(
        "calibrate", "--models", "models", "--data", "clean.npz", "--out", "own.yaml", "--quiet",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "4 networks scored, 3 left out" in done.stdout
    assert "What is easy by nature: known of 10 classes from 4 networks" in done.stdout
    assert "broken.pt" in done.stdout
    assert "twin/model.pt: the same file as one/model.pt" in done.stdout
    own = read_calibration(str(tmp_path / "own.yaml"))
    for known, shipped in zip(own.references, read_calibration().references, strict=True):
        assert known.threshold >= shipped.threshold
        assert known == shipped or (known.natural and known.false_alarms.n == 4)
    again = gatekeeper(
        "scan", models / "one/model.pt", "--data", "clean.npz", "--policy", "ci",
        "--calibration", "own.yaml", "--out", "run", "--format", "json", cwd=tmp_path,
    )  # fmt: skip
    assert '"name": "own"' in again.stdout
    assert '"natural": 4' in again.stdout
