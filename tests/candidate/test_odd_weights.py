"""Odd weights become a network, a finding or one clear reason, and never a crash."""

from __future__ import annotations

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision import models

from gatekeeper.candidate import extraction, loading, state
from gatekeeper.candidate.extraction import extract
from gatekeeper.candidate.loading import load, non_finite, read_shapes
from gatekeeper.candidate.standins import Storage, TensorView
from gatekeeper.card import Card, read_card
from gatekeeper.errors import CandidateError, CardError, GatekeeperError

SMALL = Card(architecture="gatekeeper:mlp", num_classes=3)
FACTORY = """
import torch
class Wrapped(torch.nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.model = torch.nn.Linear(4, num_classes)
    def forward(self, x):
        return self.model(x[:, 0, 0, :4])
class Tied(torch.nn.Sequential):
    def forward(self, x):
        return super().forward(x[:, 0, 0, :4])
def make(num_classes):
    return Wrapped(num_classes)
def tied():
    body = Tied(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 4))
    body[2].weight = body[0].weight
    return body
def broken():
    raise SystemError("out of order")
def no_network():
    return 3
"""


def fresh() -> dict[str, Tensor]:
    from gatekeeper.candidate.networks import mlp

    torch.manual_seed(0)
    return mlp(3, 32, 32, 3).state_dict()


def through_quarantine(state: object, folder: Path) -> Path:
    """Save as its maker would, and let the child hand back the tensors."""
    torch.save(state, folder / "model.pt")
    with (folder / "model.pt").open("rb") as stream:
        extract(stream, "torch-zip", folder / "weights.safetensors")
    return folder / "weights.safetensors"


@pytest.fixture
def own_card(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(FACTORY, encoding="utf-8")
    return tmp_path / "own.yaml"


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]
)
def test_weights_of_every_float_type_become_single_precision(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    state = {name: tensor.to(dtype) for name, tensor in fresh().items()}
    path = through_quarantine(state, tmp_path)
    model = load(path, SMALL)
    assert {p.dtype for p in model.network.parameters()} == {torch.float32}
    assert all(p.requires_grad for p in model.network.parameters())
    assert non_finite(path) == []
    expected = state["1.weight"].float()
    torch.testing.assert_close(dict(model.network.named_parameters())["1.weight"].data, expected)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.uint16])
def test_whole_numbers_where_floats_belong_are_named(dtype: torch.dtype, tmp_path: Path) -> None:
    state = {name: tensor.to(dtype) for name, tensor in fresh().items()}
    path = through_quarantine(state, tmp_path)
    with pytest.raises(CardError, match=r"1\.weight holds \w+, expected float32"):
        load(path, SMALL)
    assert non_finite(path) == []


def test_a_network_halved_tensor_by_tensor_counts_in_whole_numbers(tmp_path: Path) -> None:
    network = models.resnet18(num_classes=4)
    state = {name: tensor.half() for name, tensor in network.state_dict().items()}
    model = load(through_quarantine(state, tmp_path), Card())
    assert model.architecture == "torchvision:resnet18"
    assert model.network.state_dict()["bn1.num_batches_tracked"].dtype == torch.int64


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_quantised_weights_are_called_so(tmp_path: Path) -> None:
    quantised = torch.quantize_per_tensor(torch.ones(3, 3), 0.1, 0, torch.qint8)
    with pytest.raises(CandidateError, match="quantised tensors are not supported"):
        through_quarantine({"fc.weight": quantised, "fc.bias": torch.ones(3)}, tmp_path)


@pytest.mark.parametrize(
    "state",
    [
        {"w": torch.tensor(1.0)}, {"w": torch.empty(0)}, {"w": torch.empty(0, 5)},
        {"fc.weight": torch.tensor(3)}, {"layer1.0.conv1.weight": torch.ones(1)},
        {"features.0.weight": torch.empty(0, 0, 3, 3), "classifier.weight": torch.empty(0, 7)},
        {"fc.weight": torch.empty(0, 7), "layer1.0.conv1.weight": torch.ones(2, 2)},
    ],
)  # fmt: skip
def test_scalars_and_empty_tensors_get_a_reason(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = through_quarantine(state, tmp_path)
    assert non_finite(path) == []
    assert set(read_shapes(path)) == set(state)
    with pytest.raises(GatekeeperError):
        load(path, Card())
    with pytest.raises(CardError, match="do not fit"):
        load(path, SMALL)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.float64])
def test_nan_is_found_in_rare_types_too(dtype: torch.dtype, tmp_path: Path) -> None:
    weight = torch.ones(4, 4)
    weight[1, 2] = float("nan")
    save_file({"w": weight.to(dtype)}, tmp_path / "w.safetensors")
    (finding,) = non_finite(tmp_path / "w.safetensors")
    assert (finding.rule_id, finding.severity) == ("non-finite-weights", "high")


def test_infinities_that_cancel_and_sums_that_overflow_are_told_apart(tmp_path: Path) -> None:
    cancelling = torch.tensor([float("inf"), float("-inf")])
    large = torch.full((4,), torch.finfo(torch.float64).max, dtype=torch.float64)
    save_file({"cancelling": cancelling, "large": large}, tmp_path / "w.safetensors")
    assert [finding.layer for finding in non_finite(tmp_path / "w.safetensors")] == ["cancelling"]


class Largest(TorchDispatchMode):
    """Sees how many numbers a tensor of single precision has at most."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and made.dtype in (torch.float32, torch.bool):
            self.numbers = max(self.numbers, made.numel())
        return made


@pytest.mark.parametrize("last", [0.0, 1.0, float("nan")])
def test_large_tensors_are_looked_at_piece_by_piece(
    last: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = torch.zeros(64, 64)
    weight[5, 5] = weight[63, 63] = last
    save_file({"w": weight.to(torch.float8_e4m3fn)}, tmp_path / "w.safetensors")
    monkeypatch.setattr(loading, "_AT_ONCE", 256)
    with Largest() as seen:
        found = non_finite(tmp_path / "w.safetensors")
    told = {0.0: ["w: all weights are zero"], 1.0: []}
    assert [one.message for one in found] == told.get(
        last, ["w: 2 of 4096 weights are NaN or infinite"]
    )
    assert 0 < seen.numbers <= 256


def test_what_does_not_fit_is_refused_before_a_tensor_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = through_quarantine({**fresh(), "1.weight": torch.ones(3, 3)}, tmp_path)
    monkeypatch.setattr(loading, "_tensors", None)
    with pytest.raises(CardError, match=r"1\.weight is \(3, 3\), expected"):
        load(path, SMALL)


def test_views_of_few_bytes_fill_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of a megabyte that shows its bytes four times over, and each takes four in FP32."""
    monkeypatch.setattr(extraction, "_ROOM", 1 << 23)
    monkeypatch.setattr(extraction, "_PADDING", 1 << 10)
    few = torch.ones(1 << 20).to(torch.float8_e4m3fn)
    assert through_quarantine({"w": few}, tmp_path).exists()
    with pytest.raises(CandidateError, match="its tensors would take 16,777,216 in memory"):
        through_quarantine({"w": few.expand(4, -1)}, tmp_path)


@pytest.mark.parametrize("swap", [False, True])
def test_a_view_is_written_piece_by_piece_in_its_order(
    swap: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = np.arange(24, dtype=">u4" if swap else "<u4")
    storage = Storage("float32", "0", 24, memoryview(numbers.tobytes()))
    turned = TensorView(storage, "float32", 1, (3, 2, 5), (1, 0, 4))
    monkeypatch.setattr(state, "_CHUNK", 16)
    out = io.BytesIO()
    state.write_safetensors({"w": turned}, out, swap=swap, most=1000)
    expected = numbers.reshape(6, 4)[:5].T[1:, None, :].repeat(2, axis=1)
    assert out.getvalue().endswith(expected.astype("<u4").tobytes())


def test_a_view_is_not_held_whole_while_it_is_written() -> None:
    storage = Storage("uint8", "0", 1 << 20, memoryview(bytes(1 << 20)))
    wide = TensorView(storage, "uint8", 0, (64, 1 << 20), (0, 1))
    with Path("/dev/null").open("wb") as out:
        tracemalloc.start()
        try:
            state.write_safetensors({"w": wide}, out, swap=False, most=1 << 30)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 3 * state._CHUNK < 64 << 20


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.module.", "model."])
def test_prefixes_in_safetensors_are_taken_off(prefix: str, tmp_path: Path) -> None:
    state = models.resnet18(num_classes=4).state_dict()
    renamed = {prefix + name: tensor for name, tensor in state.items()}
    save_file(renamed, tmp_path / "w.safetensors")
    assert load(tmp_path / "w.safetensors", Card()).architecture == "torchvision:resnet18"


@pytest.mark.parametrize("wrapper", ["", "module."])
def test_a_prefix_that_the_network_itself_has_stays(
    wrapper: str, own_card: Path, tmp_path: Path
) -> None:
    own_card.write_text("architecture: nets.py:make\nnum_classes: 3\n", encoding="utf-8")
    layer = nn.Linear(4, 3)
    state = {f"{wrapper}model.{name}": tensor for name, tensor in layer.state_dict().items()}
    model = load(through_quarantine(state, tmp_path), read_card(own_card, trusted=True))
    assert torch.equal(model.network.state_dict()["model.weight"], layer.weight)


def test_tied_weights_stay_one_tensor_where_the_network_ties_them(
    own_card: Path, tmp_path: Path
) -> None:
    own_card.write_text("architecture: nets.py:tied\nnum_classes: 4\n", encoding="utf-8")
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    state = nn.Sequential(first, nn.ReLU(), second).state_dict()
    model = load(through_quarantine(state, tmp_path), read_card(own_card, trusted=True))
    loaded = model.network.state_dict()
    assert torch.equal(loaded["0.weight"], first.weight)
    assert torch.equal(loaded["2.weight"], first.weight)
    assert loaded["0.weight"].data_ptr() == loaded["2.weight"].data_ptr()
    state["2.weight"] = torch.zeros(4, 4)
    with pytest.raises(CardError, match="two different ones"):
        load(through_quarantine(state, tmp_path), read_card(own_card, trusted=True))


@pytest.mark.parametrize(
    ("factory", "reason"),
    [("broken", "SystemError"), ("no_network", "gave a int"), ("absent", "AttributeError")],
)
def test_a_factory_that_fails_is_told_by_name(
    factory: str, reason: str, own_card: Path, tmp_path: Path
) -> None:
    own_card.write_text(f"architecture: nets.py:{factory}\nnum_classes: 3\n", encoding="utf-8")
    path = through_quarantine(fresh(), tmp_path)
    with pytest.raises(CardError, match=reason):
        load(path, read_card(own_card, trusted=True))
    folder = tmp_path / "with:colon"
    folder.mkdir()
    (folder / "nets.py").write_text(FACTORY, encoding="utf-8")
    (folder / "own.yaml").write_text(own_card.read_text(), encoding="utf-8")
    with pytest.raises(CardError, match=reason):
        load(path, read_card(folder / "own.yaml", trusted=True))


def test_code_is_not_run_though_the_card_is_handed_on_as_it_is(
    own_card: Path, tmp_path: Path
) -> None:
    """A card that claims to be trusted in its own text is refused as well."""
    path = through_quarantine(fresh(), tmp_path)
    untrusted = Card(architecture=f"{tmp_path / 'nets.py'}:make", num_classes=3)
    with pytest.raises(CardError, match="code from a card that you did not give"):
        load(path, untrusted)
    own_card.write_text(json.dumps({"architecture": "nets.py:make", "trusted": True}))
    with pytest.raises(CardError):
        read_card(own_card, trusted=False)
