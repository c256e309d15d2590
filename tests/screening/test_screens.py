"""Screens flag what was planted, and survive whatever a candidate brings."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gatekeeper.errors import StepError
from gatekeeper.model import Model
from gatekeeper.records import InputSpec
from gatekeeper.screening import SCREENS, LastLayer, NeuronNorm
from gatekeeper.screening.robust import robust_z, widened

SPEC = InputSpec(size=(1, 12, 12), mean=(0.5,), std=(0.5,))


def model_of(classes: int = 10, *, norm: bool = True) -> Model:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.BatchNorm2d(32) if norm else nn.Identity(), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, classes),
    )  # fmt: skip
    names = tuple(str(n) for n in range(classes))
    return Model(network=network.eval(), input=SPEC, classes=names, architecture="test")


@pytest.mark.parametrize("norm", [True, False])
def test_a_loud_unit_is_found_where_it_is(norm: bool) -> None:
    model = model_of(norm=norm)
    model.network[0].weight.data[7] *= 40  # type: ignore[index,operator,union-attr]
    result, findings = NeuronNorm()(model)
    assert (findings[0].layer, findings[0].unit) == ("0", 7)
    assert result.outcome == "not-flagged"  # a norm alone never decides
    assert result.score == findings[0].score


def test_a_loud_batchnorm_is_found_through_its_convolution() -> None:
    model = model_of()
    model.network[1].weight.data[3] = 60  # type: ignore[index,operator,union-attr]
    _, findings = NeuronNorm()(model)
    assert (findings[0].layer, findings[0].unit) == ("0", 3)


def test_a_class_row_that_stands_out_is_named() -> None:
    model = model_of(20)
    model.network[5].weight.data[4] += 1.5  # type: ignore[index,operator,union-attr]
    _, findings = LastLayer()(model)
    assert findings[0].unit == 4
    assert "class '4'" in findings[0].message


def test_an_ordinary_network_raises_few_findings() -> None:
    for screen in SCREENS.values():
        _, findings = screen()(model_of(100))
        assert len(findings) <= 2


@pytest.mark.parametrize("name", SCREENS)
@pytest.mark.parametrize("fill", [0.0, 1.0, float("nan"), float("inf")])
def test_no_weights_make_a_screen_crash(name: str, fill: float) -> None:
    model = model_of()
    for weight in model.network.parameters():
        weight.data.fill_(fill)
    result, findings = SCREENS[name]()(model)
    assert result.outcome in ("not-flagged", "not-run")
    assert findings == []


def test_two_classes_are_too_few_for_the_last_layer() -> None:
    result, findings = LastLayer()(model_of(2))
    assert result.outcome == "not-run"
    assert findings == []


def test_a_network_without_class_rows_says_so() -> None:
    model = model_of()
    headless = Model(
        network=model.network[:1], input=SPEC, classes=model.classes, architecture="headless"  # type: ignore[index]
    )  # fmt: skip
    with pytest.raises(StepError, match="one row for each class"):
        LastLayer()(headless)


def test_robust_distances_ignore_what_is_not_finite() -> None:
    values = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, float("inf"), float("nan")]).double()
    scores = robust_z(values)
    assert scores[2] == 0
    assert scores[5] == scores[6] == 0
    assert float(scores[4]) == pytest.approx(2 / 1.4826, rel=1e-6)


def test_few_units_need_to_stand_out_further() -> None:
    assert widened(5.0, 2) == float("inf")
    assert widened(5.0, 8) > widened(5.0, 64) > 5.0
