"""Screens flag what was planted, and survive whatever a candidate brings."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gatekeeper import policy
from gatekeeper.errors import StepError
from gatekeeper.model import Model
from gatekeeper.network import channel_bounds, layers
from gatekeeper.records import InputSpec
from gatekeeper.report.wording import SCREEN_LABELS
from gatekeeper.screening import (
    IMAGE_SCREENS,
    UNIT_SCREENS,
    ChannelLipschitz,
    LastLayer,
    MaximumMargin,
    NeuronNorm,
)
from gatekeeper.screening.robust import robust_z, widened

SCREENS = {**UNIT_SCREENS, "maximum-margin": MaximumMargin}  # data-free
BY_UNIT = ("neuron-norm", "last-layer")  # and by class row
FILLS = (0.0, 1.0, 1e38, float("nan"), float("inf"))


def model_of(classes: int = 10, *, norm: bool = True, channels: int = 1) -> Model:
    """A small network with a layer of 32 units and a layer of class rows."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(channels, 32, 3), nn.BatchNorm2d(32) if norm else nn.Identity(), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, classes),
    )  # fmt: skip
    names = tuple(str(n) for n in range(classes))
    spec = InputSpec(size=(channels, 12, 12), mean=(0.5,) * channels, std=(0.5,) * channels)
    return Model(network=network.eval(), input=spec, classes=names, architecture="test")


def headless() -> Model:
    """The convolution alone: no layer has one row for each class."""
    whole = model_of()
    network = nn.Sequential(whole.network[0], nn.Flatten())  # type: ignore[index]
    return Model(network=network, input=whole.input, classes=whole.classes, architecture="headless")


@pytest.mark.parametrize("norm", [True, False])
def test_a_loud_unit_is_found_where_it_is(norm: bool) -> None:
    model = model_of(norm=norm)
    model.network[0].weight.data[7] *= 40  # type: ignore[index,operator,union-attr]
    result, findings = NeuronNorm()(model)
    assert (findings[0].layer, findings[0].unit) == ("0", 7)
    assert result.outcome == "not-flagged"  # a norm alone never decides
    assert result.score == findings[0].score
    assert "unit 7 of 0" in findings[0].message


def test_a_loud_batchnorm_is_found_through_its_convolution() -> None:
    model = model_of()
    model.network[1].weight.data[3] = 60  # type: ignore[index,operator,union-attr]
    _, findings = NeuronNorm()(model)
    assert (findings[0].layer, findings[0].unit) == ("0", 3)


@pytest.mark.parametrize("norm", [True, False])
def test_a_channel_that_stretches_far_is_found_where_it_is(norm: bool) -> None:
    model = model_of(norm=norm, channels=3)
    kernels = model.network[0].weight.data  # type: ignore[index,union-attr]
    kernels[7] = 40 * kernels[8]  # type: ignore[operator,index]
    result, findings = ChannelLipschitz()(model)
    assert (findings[0].rule_id, findings[0].layer, findings[0].unit) == ("channel-outlier", "0", 7)
    assert result.score == findings[0].score
    assert "unit 7 of 0 has a bound" in findings[0].message


def test_a_norm_that_points_one_way_stretches_further_than_one_that_is_spread() -> None:
    """Equal norms; the norm screen sees nothing, and singular values tell them apart."""
    model = model_of(norm=False, channels=9)
    kernels = model.network[0].weight.data  # type: ignore[index,union-attr]
    kernels /= kernels.flatten(1).norm(dim=1).view(-1, 1, 1, 1)  # type: ignore[operator]
    narrow = torch.outer(torch.randn(9), torch.randn(9))
    kernels[5] = (narrow / narrow.norm()).view(9, 3, 3)  # type: ignore[index,operator]
    assert not any(finding.layer == "0" for finding in NeuronNorm()(model)[1])
    _, findings = ChannelLipschitz()(model)
    assert [(finding.layer, finding.unit) for finding in findings] == [("0", 5)]


def test_bounds_are_those_of_the_singular_values() -> None:
    model = model_of(channels=3)
    layer = next(one for one in layers(model) if one.name == "0")
    norm = model.network[1]  # type: ignore[index]
    norm.weight.data.uniform_(-2, 2)  # type: ignore[union-attr,operator]
    norm.running_var.data.uniform_(0.5, 2)  # type: ignore[union-attr,operator]
    scale = norm.weight.abs() / (norm.running_var + norm.eps).sqrt()  # type: ignore[union-attr,operator]
    matrices = layer.weight.flatten(2).double()
    wanted = torch.linalg.matrix_norm(matrices, ord=2) * scale.double()
    assert torch.allclose(channel_bounds(model, layer), wanted, rtol=1e-5)


def test_without_a_wide_convolution_there_is_no_bound_to_compare() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(144, 10))
    spec = InputSpec(size=(1, 12, 12), mean=(0.5,), std=(0.5,))
    model = Model(network=network, input=spec, classes=tuple("abcdefghij"), architecture="flat")
    result, findings = ChannelLipschitz()(model)
    assert (result.outcome, result.score, findings) == ("not-run", None, [])
    assert "no layer of flat is a convolution" in result.message


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
def test_a_broken_channel_hides_no_loud_one(broken: float) -> None:
    model = model_of(channels=3)
    kernels = model.network[0].weight.data  # type: ignore[index,union-attr]
    kernels[2] = broken  # type: ignore[operator,index]
    kernels[7] = 40 * kernels[8]  # type: ignore[operator,index]
    result, findings = ChannelLipschitz()(model)
    assert [finding.unit for finding in findings] == [7]
    assert "1 units are not finite" in result.message


def test_a_policy_may_name_every_screen_and_a_report_knows_each() -> None:
    every = {*SCREENS, *IMAGE_SCREENS, "trigger-inversion"}
    assert set(policy.SCREENS) == every == set(SCREEN_LABELS)


def test_a_loud_row_is_found_by_both_screens() -> None:
    model = model_of(20)
    model.network[5].weight.data[4] += 1.5  # type: ignore[index,operator,union-attr]
    for name in BY_UNIT:
        _, findings = SCREENS[name]()(model)
        assert (findings[0].layer, findings[0].unit) == ("5", 4)
    assert "class '4'" in findings[0].message


def test_a_bias_that_stands_out_is_named() -> None:
    model = model_of(20)
    model.network[5].bias.data[11] = -9.0  # type: ignore[index,operator,union-attr]
    _, findings = LastLayer()(model)
    assert findings[0].unit == 11
    assert "the bias of the row" in findings[0].message
    assert findings[0].score is not None
    assert findings[0].score < 0


def test_the_strongest_units_are_listed_and_the_others_counted() -> None:
    model = model_of(400)
    rows = model.network[5].weight.data  # type: ignore[index,union-attr]
    rows[:30] = rows[30] * torch.arange(50, 80).view(-1, 1)  # type: ignore[operator]
    result, findings = NeuronNorm(most_per_layer=5, most=4)(model)
    assert [finding.unit for finding in findings] == [29, 28, 27, 26]
    assert "30 units of 2 layers stand out, the strongest 4 are listed" in result.message


@pytest.mark.parametrize("name", SCREENS)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_ordinary_network_raises_few_findings(name: str, channels: int) -> None:
    result, findings = SCREENS[name]()(model_of(100, channels=channels))
    assert len(findings) <= 2
    assert result.score is not None


@pytest.mark.parametrize("name", SCREENS)
@pytest.mark.parametrize("fill", FILLS)
def test_weights_that_are_all_alike_give_no_finding(name: str, fill: float) -> None:
    model = model_of()
    for weight in model.network.parameters():
        weight.data.fill_(fill)
    result, findings = SCREENS[name]()(model)
    assert result.outcome in ("not-flagged", "not-run", "undecided")
    assert findings == []


@pytest.mark.parametrize("name", BY_UNIT)
@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
def test_a_broken_unit_hides_no_loud_one(name: str, broken: float) -> None:
    model = model_of(20)
    rows = model.network[5].weight.data  # type: ignore[index,union-attr]
    rows[2] = broken
    rows[4] += 1.5
    _, findings = SCREENS[name]()(model)
    assert findings[0].unit == 4
    assert not any(finding.unit == 2 for finding in findings)


@pytest.mark.parametrize("name", SCREENS)
def test_a_screen_changes_nothing(name: str) -> None:
    model = model_of()
    before = {key: tensor.clone() for key, tensor in model.network.state_dict().items()}
    SCREENS[name]()(model)
    assert all(torch.equal(before[key], t) for key, t in model.network.state_dict().items())
    with pytest.raises(TypeError):
        SCREENS[name](5.0)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", [*BY_UNIT, "maximum-margin"])
@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes_are_too_few_to_stand_out(name: str, classes: int) -> None:
    model = model_of(classes)
    model.network[5].weight.data[0] *= 100  # type: ignore[index,operator,union-attr]
    result, findings = SCREENS[name]()(model)
    assert not any(finding.layer == "5" for finding in findings)
    assert result.outcome == ("not-flagged" if name == "neuron-norm" else "not-run")


def test_a_network_without_class_rows_is_told_apart() -> None:
    with pytest.raises(StepError, match="one row for each class"):
        LastLayer()(headless())
    result, _ = NeuronNorm()(headless())
    assert result.outcome == "not-flagged"


class Stuck(nn.Module):
    """A network that cannot be traced and does not run."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        message = "no way"
        raise RuntimeError(message if bool(x.sum() >= 0) else "at all")


def test_the_norms_of_a_network_that_does_not_run_say_what_they_lack() -> None:
    model = Model(
        network=Stuck(), input=model_of().input, classes=model_of().classes, architecture="stuck"
    )
    result, _ = NeuronNorm()(model)
    assert "norms stand without BatchNorm" in result.message
    assert LastLayer()(model)[0].outcome == "not-flagged"


def test_robust_distances_ignore_what_is_not_finite() -> None:
    values = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, float("inf"), float("nan")]).double()
    scores = robust_z(values)
    assert scores[2] == 0
    assert scores[5] == scores[6] == 0
    assert float(scores[4]) == pytest.approx(2 / 1.4826, rel=1e-6)


def test_few_units_need_to_stand_out_further() -> None:
    assert widened(5.0, 2) == float("inf")
    assert widened(5.0, 8) > widened(5.0, 64) > 5.0
