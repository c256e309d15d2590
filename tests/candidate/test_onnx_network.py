"""What converts is the same network, of torch's own layers; what does not is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from graphs import SIZE, SmallNet, constant, converted, exported, model, saved, taken
from onnx import helper
from torch import nn
from torchvision import models

from gatekeeper.candidate.graph.convert import ConversionError, ends_in_softmax
from gatekeeper.candidate.graph.load import load_graph
from gatekeeper.candidate.graph.parity import prove
from gatekeeper.card import Card, CardInput
from gatekeeper.errors import CardError
from gatekeeper.export import export
from gatekeeper.model import Model
from gatekeeper.network import walk
from gatekeeper.records import InputSpec

MEAN = (0.5, 0.4, 0.3)
node = helper.make_node


def answers(path: Path, images: torch.Tensor, batch: int) -> torch.Tensor:
    """Ask onnxruntime, here on honest files only."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path.read_bytes(), options)
    name = session.get_inputs()[0].name
    told = [session.run(None, {name: part.numpy()})[0] for part in images.split(batch)]
    return torch.from_numpy(np.concatenate(told))


def noise(count: int, size: tuple[int, int, int] = SIZE) -> torch.Tensor:
    return torch.randn(count, *size, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize("dynamo", [True, False])
def test_both_of_torchs_exporters_come_back(dynamo: bool, free: bool, tmp_path: Path) -> None:
    original = SmallNet()
    path = exported(original, tmp_path / "m.onnx", dynamo=dynamo, free=free)
    _, network, answer = converted(path)
    images = noise(5)
    with torch.no_grad():
        seen, expected = network(images), original(images)
    assert answer == (2, 4)
    torch.testing.assert_close(seen, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(seen, answers(path, images, 5 if free else 1), atol=1e-5, rtol=1e-4)
    kinds = [type(m) for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert kinds == [nn.Conv2d, nn.Conv2d, nn.Linear]
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_batch_norm_that_was_not_folded_is_one_and_follows_its_layer(tmp_path: Path) -> None:
    original = SmallNet()
    path = exported(original, tmp_path / "m.onnx", dynamo=False, folded=False)
    _, network, _ = converted(path)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in network.modules()) == 1
    spec = InputSpec(size=SIZE, mean=MEAN, std=MEAN)
    wrapped = Model(network=network, input=spec, classes=tuple("abcd"), architecture="onnx")
    layers, wiring = walk(wrapped)
    assert wiring.seen != "unseen"
    assert [layer.batch_norm is not None for layer in layers] == [True, False, False]
    assert [layer.is_head for layer in layers] == [False, False, True]
    with torch.no_grad():
        torch.testing.assert_close(network(noise(3)), original(noise(3)), atol=1e-5, rtol=1e-4)


def test_it_trains_and_goes_out_again_as_any_other(tmp_path: Path) -> None:
    _, network, _ = converted(exported(SmallNet(), tmp_path / "m.onnx", dynamo=False))
    spec = InputSpec(size=SIZE, mean=MEAN, std=MEAN)
    wrapped = Model(network=network, input=spec, classes=tuple("abcd"), architecture="onnx")
    again = wrapped.clone()
    again.network.train()
    loss = again.pixels_to_logits()(torch.rand(4, *SIZE)).square().sum()
    loss.backward()
    assert all(parameter.grad is not None for parameter in again.network.parameters())
    export(wrapped, tmp_path / "out.onnx", metadata={})
    pixels = torch.rand(3, *SIZE)
    with torch.no_grad():
        expected = wrapped.pixels_to_logits()(pixels)
    seen = answers(tmp_path / "out.onnx", pixels, 3)
    torch.testing.assert_close(seen, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dynamo", [True, False])
def test_torchvisions_resnet18_comes_back_and_is_proved_in_quarantine(
    dynamo: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    original = models.resnet18(num_classes=7).eval()
    size = (3, 32, 32)
    path = exported(original, tmp_path / "r.onnx", dynamo=dynamo, free=dynamo, size=size)
    graph, network, _ = converted(path)
    with path.open("rb") as stream:
        proof = prove(stream, network, size, batch=graph.shape[0])
    assert proof.images == 4
    assert proof.max_abs_diff < 1e-4
    assert "own process" in proof.protections
    with torch.no_grad():
        seen = network(noise(2, size))
        torch.testing.assert_close(seen, original(noise(2, size)), atol=1e-4, rtol=1e-3)
    assert len(seen[0]) == 7


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "densenet121", "vgg11_bn", "vit_b_16"])
def test_larger_families_come_back(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    original = models.get_model(name, weights=None, num_classes=5).eval()
    for parameter in original.parameters():  # some heads begin at zero
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    size = (3, 64, 64) if name in ("mobilenet_v3_small", "densenet121") else (3, 224, 224)
    path = exported(original, tmp_path / "m.onnx", dynamo=False, size=size)
    _, network, _ = converted(path)
    with path.open("rb") as stream:
        assert prove(stream, network, size, batch=None).images in (2, 4)


def test_another_network_is_not_taken_for_proved(tmp_path: Path) -> None:
    path = exported(SmallNet(), tmp_path / "m.onnx", dynamo=False)
    _, network, _ = converted(path)
    network.get_submodule("conv2").weight.data[3] *= 1.5
    with path.open("rb") as stream, pytest.raises(ConversionError, match="differ by"):
        prove(stream, network, SIZE, batch=None)


@pytest.mark.parametrize("name", ["Det", "NonMaxSuppression", "LSTM", "Wilful"])
def test_an_operator_that_is_not_on_the_list_is_named(name: str, tmp_path: Path) -> None:
    nodes = [helper.make_node(name, ["x"], ["d"]), helper.make_node("Add", ["d", "w"], ["y"])]
    path = saved(model(nodes, [constant("w", [1.0, 2.0])]), tmp_path)
    with pytest.raises(ConversionError, match=f"no operator '{name}'"):
        converted(path)


def test_a_strange_attribute_and_computed_weights_are_named(tmp_path: Path) -> None:
    odd = helper.make_node("Relu", ["x"], ["y"], strangeness=1)
    with pytest.raises(ConversionError, match="strangeness"):
        converted(saved(model([odd], [constant("w", [1.0])]), tmp_path))
    nodes = [helper.make_node("Conv", ["x", "x"], ["y"])]
    with pytest.raises(ConversionError, match="weights are computed"):
        converted(saved(model(nodes, [constant("w", [1.0])]), tmp_path))


NAN = {
    "Equal": [node("Equal", ["x", "x"], ["e"]), node("Cast", ["e"], ["f"], to=1)],
    "Where": [node("Equal", ["c", "c"], ["e"]), node("Where", ["e", "x", "c"], ["f"])],
    "Cast": [node("Cast", ["x"], ["e"], to=7), node("Cast", ["e"], ["f"], to=1)],
    "Cast, which": [node("Cast", ["x"], ["e"], to=9), node("Cast", ["e"], ["f"], to=1)],
}  # fmt: skip


@pytest.mark.parametrize("name", NAN)
def test_what_tells_nan_apart_on_what_flows_is_refused(name: str, tmp_path: Path) -> None:
    """A maximum over NaN is a number in onnxruntime and none in torch."""
    nodes = [*NAN[name], node("MaxPool", ["f"], ["y"], kernel_shape=[2, 2])]
    path = saved(model(nodes, [constant("c", [1.0])]), tmp_path)
    with pytest.raises(
        ConversionError, match=f"at {name.partition(',')[0]}.*could tell NaN apart"
    ) as told:
        converted(path)
    assert "state dict" in told.value.hint


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_padding_that_the_size_decides(auto_pad: str, tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((4, 3, 4, 3), np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], strides=[2, 1], auto_pad=auto_pad),
        helper.make_node("MaxPool", ["c"], ["m"], kernel_shape=[2, 2], auto_pad=auto_pad),
        helper.make_node("AveragePool", ["m"], ["a"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalMaxPool", ["a"], ["g"]),
        helper.make_node("Flatten", ["g"], ["y"]),
    ]
    path = saved(model(nodes, [constant("w", weight)], ir_version=9), tmp_path)
    _, network, _ = converted(path)
    with torch.no_grad():
        torch.testing.assert_close(
            network(noise(3)), answers(path, noise(3), 3), rtol=1e-4, atol=1e-4
        )


def test_a_softmax_at_the_end_counts_as_probabilities(tmp_path: Path) -> None:
    original = SmallNet(ends_in=nn.Softmax(dim=1))
    path = exported(original, tmp_path / "m.onnx", dynamo=False)
    graph, _, _ = converted(path)
    assert ends_in_softmax(graph)
    assert not ends_in_softmax(converted(exported(SmallNet(), path, dynamo=False))[0])


def write_graph(path: Path) -> tuple[Path, Path]:
    """Write down what quarantine told, as the read step does."""
    told = path.with_suffix(".json")
    told.write_text(json.dumps(taken(path).graph))
    return told, path.with_suffix(".safetensors")


def test_card_and_graph_make_the_model(tmp_path: Path) -> None:
    original = SmallNet(ends_in=nn.Softmax(dim=1))
    graph, weights = write_graph(exported(original, tmp_path / "m.onnx", dynamo=False))
    model = load_graph(graph, weights, Card(), classes=tuple("abcd"))
    assert (model.input.size, model.classes) == (SIZE, tuple("abcd"))
    assert (model.architecture, model.output) == ("onnx", "probabilities")
    logits = model.pixels_to_logits()(torch.rand(2, *SIZE))
    torch.testing.assert_close(logits.exp().sum(1), torch.ones(2))
    assert load_graph(graph, weights, Card(num_classes=4)).classes == tuple("0123")
    with pytest.raises(CardError, match="4 classes, the card says 5"):
        load_graph(graph, weights, Card(num_classes=5))
    other = CardInput(size=(3, 16, 16), mean=MEAN, std=MEAN)
    with pytest.raises(CardError, match=r"size \(3, 8, 8\), the card says"):
        load_graph(graph, weights, Card(input=other))


def test_a_free_size_asks_for_a_card(tmp_path: Path) -> None:
    pool = helper.make_node("GlobalAveragePool", ["x"], ["p"])
    nodes = [pool, helper.make_node("Flatten", ["p"], ["y"])]
    proto = model(nodes, [constant("w", [1.0])], shape=["n", 3, "h", "w"])
    graph, weights = write_graph(saved(proto, tmp_path))
    with pytest.raises(CardError, match="free") as asked:
        load_graph(graph, weights, Card())
    assert "--card" in asked.value.hint
    card = Card(input=CardInput(size=(3, 16, 16), mean=MEAN, std=MEAN))
    assert load_graph(graph, weights, card).input.mean == MEAN


def test_a_product_with_a_second_name_keeps_to_itself(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((192, 4), np.float32)
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["p"]),
        helper.make_node("Identity", ["p"], ["p1"]),
        helper.make_node("Identity", ["p"], ["p2"]),
        helper.make_node("Add", ["p1", "b"], ["biased"]),
        helper.make_node("Mul", ["biased", "p2"], ["y"]),
    ]
    tensors = [constant("w", weight), constant("b", [1, 2, 3, 4])]
    path = saved(model(nodes, tensors, ir_version=9), tmp_path)
    _, network, _ = converted(path)
    with torch.no_grad():
        torch.testing.assert_close(
            network(noise(3)), answers(path, noise(3), 3), rtol=1e-4, atol=1e-4
        )
