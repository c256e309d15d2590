"""Networks that were pickled whole: known layers are read from their state, and nothing is run."""

from __future__ import annotations

import io
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from forged import HARMLESS, blocked, checkpoint
from torch import nn
from torchvision import models

from gatekeeper.candidate.extraction import Extraction, extract
from gatekeeper.candidate.inspect import inspect
from gatekeeper.candidate.loading import load
from gatekeeper.candidate.refusals import MalformedTensorError, QuarantineError
from gatekeeper.card import Card, CardInput
from gatekeeper.errors import CandidateError, CardError
from gatekeeper.model import Model

NOTHING = CardInput(size=(3, 16, 16), mean=(0, 0, 0), std=(1, 1, 1))


def small() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
        nn.Sequential(OrderedDict(pool=nn.MaxPool2d(2), drop=nn.Dropout2d(0.1))),
        nn.Conv2d(8, 6, (3, 1), stride=2, padding="valid", padding_mode="zeros"), nn.GELU(),
        nn.GroupNorm(2, 6), nn.AdaptiveAvgPool2d((2, None)), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.LayerNorm(6), nn.Linear(6, 5), nn.LeakyReLU(0.2),
    )  # fmt: skip


def saved(value: object, folder: Path, *, legacy: bool = False) -> Path:
    torch.save(value, folder / "model.pt", _use_new_zipfile_serialization=not legacy)
    return folder / "model.pt"


def taken(path: Path) -> Extraction:
    """Inspect a file that must be clean, and let the quarantine child parse it."""
    inspection = inspect(path)
    assert (inspection.findings, inspection.unreadable) == ((), "")
    with path.open("rb") as stream:
        return extract(stream, inspection.artifact.kind, path.with_suffix(".safetensors"))


def scanned(path: Path, card: Card | None = None) -> Model:
    extraction = taken(path)
    assert extraction.structure is not None
    return load(path.with_suffix(".safetensors"), card or Card(), structure=extraction.structure)


def assert_same(model: Model, network: nn.Module) -> None:
    """Hold the rebuilt network against the saved one, on images of chance."""
    pixels = torch.rand(3, *model.input.size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(model.network(pixels), network.eval()(pixels))


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("wrap", [lambda net: net, nn.DataParallel, lambda net: {"model": net}])
def test_a_sequential_answers_as_it_did(
    wrap: Callable[[nn.Module], object], legacy: bool, tmp_path: Path
) -> None:
    network = small()
    network(torch.rand(4, 3, 16, 16))  # running statistics of its own
    model = scanned(saved(wrap(network), tmp_path, legacy=legacy), Card(input=NOTHING))
    assert model.architecture == "torch.nn.Sequential"
    assert (len(model.classes), model.output) == (5, "logits")
    assert_same(model, network)


@pytest.mark.parametrize("legacy", [True, False])
def test_a_torchvision_network_is_recognised_and_compared(legacy: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = models.resnet18(num_classes=3)
    network.class_to_idx = {"cat": 0, "dog": 1, "owl": 2}  # type: ignore[assignment]
    network.note = "of mine"  # type: ignore[assignment]
    model = scanned(saved(network, tmp_path, legacy=legacy))
    assert model.architecture == "torchvision:resnet18"
    assert_same(model, network)


def test_other_networks_are_read_with_their_heads_replaced(tmp_path: Path) -> None:
    for name in ("squeezenet1_1", "shufflenet_v2_x0_5", "mnasnet0_5"):
        network = models.get_model(name, weights=None, num_classes=4)
        assert_same(scanned(saved(network, tmp_path)), network)


def without_pool(network: Any) -> None:
    network.maxpool = nn.Identity()


def other_stride(network: Any) -> None:
    network.layer2[0].conv1.stride = (1, 1)


def own_forward(network: Any) -> None:
    vars(network)["forward"] = network.fc


def hooked(network: Any) -> None:
    vars(network)["_forward_hooks"] = OrderedDict({0: nn.Identity()})


def shadowing(network: Any) -> None:
    vars(network)["_forward_impl"] = "text"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without_pool, "'maxpool' is a torch.nn.modules.linear.Identity"),
        (other_stride, r"'layer2.0.conv1' has stride \[1, 1\], expected \[2, 2\]"),
        (own_forward, "keeps something of its own as 'forward'"),
        (hooked, "keeps something of its own as '_forward_hooks'"),
        (shadowing, "has its own '_forward_impl'"),
    ],
)
def test_tensors_that_fit_do_not_hide_another_network(
    change: Callable[[Any], None], told: str, tmp_path: Path
) -> None:
    network = models.resnet18(num_classes=3)
    change(network)
    path = saved(network, tmp_path)
    with pytest.raises(CardError, match=told) as refused:
        scanned(path)
    assert "--card" in refused.value.hint
    # The operator's word outranks the file's.
    card = Card(architecture="torchvision:resnet18", num_classes=3)
    assert scanned(path, card).architecture == "torchvision:resnet18"


def test_a_network_whose_forward_is_code_asks_for_a_card(tmp_path: Path) -> None:
    path = saved(nn.ModuleList([nn.Linear(3, 2)]), tmp_path)
    with pytest.raises(CardError, match="forward is code") as refused:
        scanned(path)
    assert "--card" in refused.value.hint
    path = saved(nn.Sequential(nn.Flatten(), nn.ModuleList([nn.Linear(3, 2)])), tmp_path)
    with pytest.raises(CardError, match="ModuleList, which is not rebuilt"):
        scanned(path)


def test_a_softmax_at_the_end_means_probabilities(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4), nn.Softmax(dim=1))
    path = saved(network, tmp_path)
    assert scanned(path, Card(input=NOTHING)).output == "probabilities"
    assert scanned(path, Card(input=NOTHING, output="logits")).output == "logits"


def test_an_image_that_does_not_fit_asks_for_the_input(tmp_path: Path) -> None:
    path = saved(nn.Sequential(nn.Flatten(), nn.Linear(48, 4)), tmp_path)
    with pytest.raises(CardError, match=r"two images of size \(3, 32, 32\), fails") as refused:
        scanned(path)
    assert "input" in refused.value.hint


def test_shared_and_tied_layers_are_read_by_every_name(tmp_path: Path) -> None:
    shared, tied = nn.Linear(6, 6), nn.Linear(6, 6)
    tied.weight = shared.weight
    network = nn.Sequential(
        nn.AdaptiveAvgPool2d((1, 2)), nn.Flatten(), shared, nn.ReLU(), shared, tied
    )
    assert_same(scanned(saved(network, tmp_path)), network)


class Own(nn.Module):
    """Somebody's own class."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)


def test_an_own_class_is_undecided_by_name(tmp_path: Path) -> None:
    seen = inspect(saved(nn.Sequential(Own()), tmp_path))
    assert blocked(seen) == set()
    assert "Own" in seen.unreadable
    assert "torch.nn" not in seen.unreadable
    assert "--card" in seen.hint


class Payload:
    """Would run `true`."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("true",)


@pytest.mark.parametrize("room", ["extra", "_modules", "_parameters", "_forward_hooks"])
@pytest.mark.parametrize("legacy", [True, False])
def test_a_payload_inside_of_a_network_is_blocked(room: str, legacy: bool, tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(2, 2))
    vars(network).setdefault(room, {})["x"] = Payload()
    assert blocked(inspect(saved(network, tmp_path, legacy=legacy))) == {"code-execution"}


def test_a_function_as_a_hook_is_blocked(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(2, 2))
    network.register_forward_hook(print)  # type: ignore[arg-type]
    assert blocked(inspect(saved(network, tmp_path))) == {"code-execution"}


def number_as_parameter(network: Any) -> None:
    network[0]._parameters["weight"] = 3


def text_as_module(network: Any) -> None:
    network._modules["0"] = "text"


def itself(network: Any) -> None:
    network._modules["1"] = network


def list_as_modules(network: Any) -> None:
    vars(network)["_modules"] = [1, 2]


@pytest.mark.parametrize("lie", [number_as_parameter, text_as_module, itself, list_as_modules])
def test_a_structure_that_no_honest_network_has_is_malformed(
    lie: Callable[[Any], None], tmp_path: Path
) -> None:
    network = nn.Sequential(nn.Linear(2, 2))
    lie(network)
    with pytest.raises(MalformedTensorError) as refused:
        taken(saved(network, tmp_path))
    assert "\n" not in str(refused.value)


def deep() -> nn.Module:
    network: nn.Module = nn.Linear(2, 2)
    for _ in range(40):
        network = nn.Sequential(network)
    return network


def bomb() -> nn.Module:
    """Twenty-five levels, each holding the one below twice: 2^25 layers in a few kilobytes."""
    network: nn.Module = nn.Linear(2, 2)
    for _ in range(25):
        network = nn.Sequential(network, network)
    return network


def wide() -> nn.Module:
    relu = nn.ReLU()
    return nn.Sequential(nn.Linear(2, 2), *[relu] * 20_000)


def chatty() -> nn.Module:
    layers = [nn.ReLU() for _ in range(2000)]
    for layer in layers:
        vars(layer).update({f"{n:02}" + "x" * 90: "y" * 40 for n in range(50)})
    return nn.Sequential(nn.Linear(2, 2), *layers)


def dotted() -> nn.Module:
    network = nn.Sequential(nn.Linear(2, 2))
    network._modules["a.b"] = nn.ReLU()
    return network


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (deep, "levels"),
        (bomb, "layers"),
        (wide, "layers"),
        (chatty, "bytes to tell"),
        (dotted, "is called 'a.b'"),
    ],
)
def test_too_much_of_a_network_is_undecided(
    make: Callable[[], nn.Module], told: str, tmp_path: Path
) -> None:
    with pytest.raises(CandidateError, match=told) as refused:
        taken(saved(make(), tmp_path))
    assert not isinstance(refused.value, MalformedTensorError)
    assert refused.value.exit_code == 3


def lying(layer: nn.Module, **values: object) -> nn.Module:
    vars(layer).update(values)
    return layer


HUGE = 1 << 40
LIES = {
    "huge channels": (lying(nn.Conv2d(3, 4, 3), out_channels=HUGE), "out of bounds"),
    "other channels": (lying(nn.Conv2d(3, 4, 3), out_channels=64), "would have the tensors"),
    "no groups": (lying(nn.Conv2d(3, 4, 3), groups=0), "out of bounds"),
    "odd groups": (lying(nn.Conv2d(3, 4, 3), groups=3), "would have the tensors"),
    "text for a number": (lying(nn.Conv2d(3, 4, 3), stride="3"), "out of bounds"),
    "a truth for a number": (lying(nn.Conv2d(3, 4, 3), in_channels=True), "out of bounds"),
    "huge features": (lying(nn.BatchNorm2d(3), num_features=HUGE), "out of bounds"),
    "other features": (lying(nn.BatchNorm2d(3), num_features=1 << 20), "would have the tensors"),
    "huge shape": (lying(nn.LayerNorm(3), normalized_shape=(HUGE,)), "out of bounds"),
    "nothing told": (lying(nn.Linear(3, 4), in_features=None), "out of bounds"),
    "nan": (lying(nn.LeakyReLU(), negative_slope=float("nan")), "keeps other data"),
    "huge slope": (lying(nn.LeakyReLU(), negative_slope=1e30), "out of bounds"),
    "huge answer": (nn.AdaptiveAvgPool2d(HUGE), "out of bounds"),
    "large answer": (nn.Sequential(nn.Conv2d(3, 128, 1), nn.AdaptiveAvgPool2d(1024)), "too many"),
    "long work": (
        nn.Sequential(nn.AdaptiveAvgPool2d(1024), nn.Conv2d(3, 3, 127, padding=64)), "too many",
    ),
    "own padding": (
        lying(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
              _reversed_padding_repeated_twice=[9, 9, 9, 9]),
        "_reversed_padding_repeated_twice",
    ),
    "indices": (nn.MaxPool2d(2, return_indices=True), "out of bounds"),
    "shadowed forward": (lying(nn.ReLU(), forward=nn.Identity()), "'forward'"),
    "layer in a layer": (lying(nn.ReLU(), _modules={"a": nn.ReLU()}), "cannot stand"),
    "named like a method": (lying(nn.Sequential(), _modules={"forward": nn.ReLU()}), "cannot"),
    "tensor of its own": (
        lying(nn.Sequential(), _parameters={"w": nn.Parameter(torch.ones(2))}), "of its own",
    ),
    "surplus tensor": (
        lying(nn.ReLU(), _parameters={"w": nn.Parameter(torch.ones(2))}), "would have the tensors",
    ),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_a_layer_that_lies_is_refused_before_it_is_built(lie: str, tmp_path: Path) -> None:
    layer, told = LIES[lie]
    network = nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    with pytest.raises(CardError, match=told) as refused:
        scanned(saved(network, tmp_path))
    assert "--card" in refused.value.hint
    assert len(str(refused.value)) < 600


def large(layers: Callable[[], nn.Module], count: int) -> nn.Sequential:
    """Let 16 channels grow from 32 to 1,056 places a side, and go through `count` layers."""
    pads = [nn.ReplicationPad2d(128) for _ in range(4)]
    ends = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2)]
    return nn.Sequential(nn.Conv2d(3, 16, 1), *pads, *(layers() for _ in range(count)), *ends)


@pytest.mark.parametrize("count", [60, 1000])
@pytest.mark.parametrize(
    "layer",
    [
        nn.Mish,
        nn.ReLU,
        lambda: nn.LocalResponseNorm(5),
        lambda: nn.MaxPool2d(9, 1, 4),
        lambda: nn.Conv2d(16, 16, 5, padding=2, groups=16),
    ],
    ids=["mish", "relu", "lrn", "pool", "depthwise"],
)
def test_many_cheap_layers_on_a_large_image_are_refused(
    layer: Callable[[], nn.Module], count: int, tmp_path: Path
) -> None:
    path = saved(large(layer, count), tmp_path)
    assert path.stat().st_size < 4 << 20
    with pytest.raises(CardError, match="too many"):
        scanned(path)


@pytest.mark.parametrize("tail", [b"}b}b.", b"]b.", b"Nb."])
def test_a_layer_that_is_rewritten_is_malformed(tail: bytes, tmp_path: Path) -> None:
    layer = b"\x80\x02}U\x01wctorch.nn.modules.linear\nLinear\n)\x81" + tail[:-1] + b"s."
    (tmp_path / "model.pt").write_bytes(checkpoint(layer))
    told = pytest.raises(MalformedTensorError, match=r"rewrites|the state of a")
    with (tmp_path / "model.pt").open("rb") as stream, told:
        extract(stream, "torch-zip", tmp_path / "out.safetensors")


def test_nothing_of_a_network_is_imported_by_the_child(tmp_path: Path) -> None:
    """The child has no torch: a module of torchvision's is a name to it."""
    invented = b"\x80\x02ctorch.nn.modules.nowhere\nNothing\n)\x81}U\x08trainingK\x01sb."
    (tmp_path / "model.pt").write_bytes(checkpoint(invented))
    with pytest.raises(CandidateError, match="no tensors"):
        taken(tmp_path / "model.pt")


def test_a_called_layer_is_blocked_and_refused(tmp_path: Path) -> None:
    called = checkpoint(b"\x80\x02ctorch.nn.modules.linear\nLinear\n(K\x02K\x02tR.")
    (tmp_path / "model.pt").write_bytes(called)
    assert blocked(inspect(tmp_path / "model.pt")) == {"code-execution"}
    with (tmp_path / "model.pt").open("rb") as stream, pytest.raises(MalformedTensorError):
        extract(stream, "torch-zip", tmp_path / "out")


def test_a_pickled_network_beside_the_weights_is_no_way_around(tmp_path: Path) -> None:
    """Only what is read is let through: layers in other members stay unreadable."""
    out = io.BytesIO()
    pickle.Pickler(out, protocol=2).dump(nn.ReLU())
    (tmp_path / "model.pt").write_bytes(checkpoint(HARMLESS, **{"more.pkl": out.getvalue()}))
    assert "whole network" in inspect(tmp_path / "model.pt").unreadable


@pytest.mark.parametrize("name", ["ReL\0.U", "L" * 300, "Re\x1b[2JLU"])
def test_a_class_of_no_name_is_undecided_by_the_child_itself(name: str, tmp_path: Path) -> None:
    layer = b"\x80\x02ctorch.nn.modules.activation\n" + name.encode() + b"\n)\x81}b."
    (tmp_path / "m.pt").write_bytes(checkpoint(layer))
    with (tmp_path / "m.pt").open("rb") as stream, pytest.raises(QuarantineError) as told:
        extract(stream, "torch-zip", tmp_path / "out")
    assert "a layer is of the class" in str(told.value)
    assert "damaged" not in str(told.value)
