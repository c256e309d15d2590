"""Tensors become the network that they are, or the first that differ are named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from gatekeeper.candidate.architectures import build, infer
from gatekeeper.candidate.loading import load, non_finite
from gatekeeper.card import Card, CardInput, read_card
from gatekeeper.errors import CardError
from gatekeeper.records import InputSpec

TINY = "input: { size: [3, 4, 4], mean: [0, 0, 0], std: [1, 1, 1] }\n"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_file(models.resnet18(num_classes=7).state_dict(), path)
    return path


def test_a_torchvision_network_is_recognised_by_its_tensors(weights: Path) -> None:
    model = load(weights, Card())
    assert model.architecture == "torchvision:resnet18"
    assert len(model.classes) == 7
    assert not model.network.training
    torch.manual_seed(0)
    original = models.resnet18(num_classes=7).eval()
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(model.network(pixels), original(pixels))


@pytest.mark.parametrize("name", ["resnet34", "vgg13", "mobilenet_v2", "shufflenet_v2_x0_5"])
def test_relatives_are_told_apart(name: str) -> None:
    network = models.get_model(name, weights=None, num_classes=4)
    shapes = {key: tuple(t.shape) for key, t in network.state_dict().items()}
    assert infer(shapes)[0] == f"torchvision:{name}"


def test_a_mismatch_names_the_first_tensors(weights: Path) -> None:
    card = Card(architecture="torchvision:resnet18", num_classes=9)
    with pytest.raises(CardError, match=r"fc.weight is \(7, 512\), expected \(9, 512\)"):
        load(weights, card)
    with pytest.raises(CardError, match=r"is missing|is not expected"):
        load(weights, Card(architecture="torchvision:mobilenet_v2", num_classes=7))
    with pytest.raises(CardError, match="no classifier"):
        load(weights, Card(architecture="torchvision:no_such_net", num_classes=7))


def test_unknown_tensors_ask_for_a_card(tmp_path: Path) -> None:
    save_file({"strange.weight": torch.ones(3, 3)}, tmp_path / "w.safetensors")
    with pytest.raises(CardError, match="no known one") as refused:
        load(tmp_path / "w.safetensors", Card())
    assert "--card" in refused.value.hint


def test_code_runs_only_where_the_operator_gave_the_card(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(
        "from pathlib import Path\nimport torch\n"
        "Path(__file__).with_name('ran').touch()\n"
        "def make(num_classes):\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, num_classes))\n"
    )
    card = tmp_path / "model.card.yaml"
    card.write_text(f"architecture: nets.py:make\nnum_classes: 4\n{TINY}")
    save_file({"1.weight": torch.ones(4, 48), "1.bias": torch.ones(4)}, tmp_path / "w.safetensors")
    with pytest.raises(CardError, match="came with the candidate"):
        read_card(card, trusted=False)
    assert not (tmp_path / "ran").exists()
    assert load(tmp_path / "w.safetensors", read_card(card, trusted=True)).classes == tuple("0123")
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_that_are_not_finite_are_found(
    bad: float, dtype: torch.dtype, tmp_path: Path
) -> None:
    weight = torch.ones(4, 4, dtype=dtype)
    weight[2, 1] = bad
    save_file({"a": torch.ones(2), "b.weight": weight}, tmp_path / "w.safetensors")
    (finding,) = non_finite(tmp_path / "w.safetensors")
    assert (finding.rule_id, finding.layer) == ("non-finite-weights", "b.weight")
    assert "1 of 16" in finding.message


def test_odd_tensors_are_no_finding_and_dead_layers_are_one(tmp_path: Path) -> None:
    odd = {
        "zero": torch.zeros(3, 3),
        "bias": torch.zeros(3),
        "scalar": torch.tensor(0.0),
        "empty": torch.empty(0),
        "whole": torch.zeros(2, 2, dtype=torch.int8),
        "huge": torch.full((4, 4), 3e38),
    }
    save_file(odd, tmp_path / "w.safetensors")
    (finding,) = non_finite(tmp_path / "w.safetensors")
    assert (finding.rule_id, finding.layer) == ("all-zero-layer", "zero")


OWN = """
import torch
class Net(torch.nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.head = torch.nn.Linear(48, num_classes)
    def forward(self, x):
        y = self.head(x.flatten(1))
        return {answer}
"""


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("(y, y)", "a tuple"),
        ("y[:, :3]", r"\(2, 3\), not with \(2, 4\)"),
        ("y[None]", r"\(1, 2, 4\), not with \(2, 4\)"),
        ("y @ y", "fails: RuntimeError"),
        ("y.no_such_thing", "fails: AttributeError"),
    ],
)
def test_an_own_network_must_give_one_row_of_logits_an_image(
    answer: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "nets.py").write_text(OWN.format(answer=answer))
    (tmp_path / "card.yaml").write_text(f"architecture: nets.py:Net\nnum_classes: 4\n{TINY}")
    save_file(
        {"head.weight": torch.ones(4, 48), "head.bias": torch.ones(4)}, tmp_path / "w.safetensors"
    )
    with pytest.raises(CardError, match=told) as refused:
        load(tmp_path / "w.safetensors", read_card(tmp_path / "card.yaml", trusted=True))
    assert "(3, 4, 4)" in str(refused.value)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("name", "size"), [("resnet18", (1, 32, 32)), ("vit_b_16", (3, 32, 32)), ("alexnet", (3, 8, 8))]
)
def test_an_image_size_that_does_not_fit_is_the_cards_fault(
    name: str, size: tuple[int, int, int], tmp_path: Path
) -> None:
    network = models.get_model(name, weights=None, num_classes=2)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    flat = (0.0,) * size[0]
    card = Card(
        architecture=f"torchvision:{name}",
        num_classes=2,
        input=CardInput(size=size, mean=flat, std=tuple(x + 1 for x in flat)),
    )
    with pytest.raises(CardError, match=rf"two images of size \({size[0]}, {size[1]}"):
        load(tmp_path / "w.safetensors", card)


FAKE_TIMM = """
import torch
def list_models():
    return ["tiny"]
def create_model(name, pretrained, num_classes, in_chans):
    assert name == "tiny" and not pretrained, "a download"
    return torch.nn.Linear(3, num_classes)
"""


@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize(
    "name", ["hf-hub:evil/repo", "hf_hub:evil/repo", "local-dir:/srv", "evil/repo", "tiny.in1k"]
)
def test_timm_builds_its_own_networks_and_fetches_nothing(
    name: str, trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "timm.py").write_text(FAKE_TIMM)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    spec = InputSpec(size=(3, 32, 32), mean=(0, 0, 0), std=(1, 1, 1))
    with pytest.raises(CardError, match=r"place to load from|timm has no network"):
        build(f"timm:{name}", spec, 2, trusted=trusted)
    assert isinstance(build("timm:tiny", spec, 2, trusted=trusted), torch.nn.Linear)
    monkeypatch.delitem(sys.modules, "timm")
