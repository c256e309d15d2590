"""An ONNX candidate through the whole gate, as an operator would start it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from candidates import gatekeeper, quick_policy, save_images
from graphs import constant, exported, linear, model, saved, taken
from onnx import TensorProto, helper
from torch import nn

from gatekeeper.candidate.graph.load import load_loose
from gatekeeper.candidate.networks import SmallResNet
from gatekeeper.card import Card
from gatekeeper.errors import StepError
from gatekeeper.export import export
from gatekeeper.model import Images, Model
from gatekeeper.screening import UNIT_SCREENS


def scanned(path: Path, *words: str | Path) -> tuple[int, dict[str, Any]]:
    """Scan and give exit code and record."""
    policy = quick_policy(path.parent, "ci")
    done = gatekeeper(
        "scan", path.name, "--policy", policy, "--out", "run", *words, cwd=path.parent
    )
    record: dict[str, Any] = json.loads((path.parent / "run/record.json").read_text())
    assert done.stderr.count("Traceback") == 0
    return done.returncode, record


def test_the_gates_own_onnx_is_judged_as_a_candidate(
    backdoored: Model, held_out: Images, tmp_path: Path
) -> None:
    export(backdoored, tmp_path / "model.onnx", metadata={})
    save_images(held_out, tmp_path / "clean.npz")
    code, record = scanned(tmp_path / "model.onnx", "--data", "clean.npz")
    assert record["candidate"]["kind"] == "onnx"
    assert record["candidate"]["architecture"] == "onnx"
    assert record["candidate"]["num_classes"] == 10
    assert record["verification"]["before"]["clean_accuracy"]["value"] > 0.9
    assert record["screens"]["trigger-inversion"]["outcome"] == "flagged"
    assert (code, record["verdict"]["decision"]) == (1, "reject")
    assert record["norms"]
    proof = next(one["reason"] for one in record["skipped"] if "random images" in one["reason"])
    assert "onnxruntime in quarantine: own process" in proof


def outside(proto: Any) -> None:
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


@pytest.mark.parametrize("rule", ["external-data", "foreign-operator"])
def test_what_reaches_out_is_rejected_whatever_the_policy(rule: str, tmp_path: Path) -> None:
    proto = linear()
    if rule == "external-data":
        outside(proto)
    else:
        proto.graph.node.append(helper.make_node("PythonOp", ["y"], ["z"], domain="com.microsoft"))
    code, record = scanned(saved(proto, tmp_path))
    assert (code, record["verdict"]["decision"]) == (1, "reject")
    assert [finding["rule_id"] for finding in record["findings"]] == [rule]
    assert not (tmp_path / "run/weights.safetensors").exists()


def test_what_does_not_convert_is_undecided_and_its_weights_are_looked_at(tmp_path: Path) -> None:
    nodes = [helper.make_node("Det", ["x"], ["d"]), helper.make_node("Add", ["d", "w"], ["y"])]
    proto = model(nodes, [constant("w", [1.0, 2.0])])
    code, record = scanned(saved(proto, tmp_path))
    assert (code, record["verdict"]["decision"]) == (3, "undecided")
    assert any("no operator 'Det'" in reason for reason in record["verdict"]["reasons"])
    assert any("nor was its accuracy measured" in one["reason"] for one in record["skipped"])
    assert not (tmp_path / "run/hardened.onnx").exists()


def unconvertible(network: nn.Module, folder: Path) -> Path:
    """Export a network, and put an operator that the gate does not convert before its answer."""
    path = exported(network, folder / "model.onnx", dynamo=False, size=(1, 8, 8))
    proto = onnx.load(path)
    answer = proto.graph.output[0].name
    for node in proto.graph.node:
        node.output[:] = ["before" if name == answer else name for name in node.output]
    proto.graph.node.append(helper.make_node("ThresholdedRelu", ["before"], [answer], alpha=-1e6))
    return saved(proto, folder)


def digits_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(),
        nn.Linear(1024, 10),
    )  # fmt: skip


def trained(network: nn.Module, images: Images) -> nn.Module:
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images.floats()), images.labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return network.eval()


def test_what_does_not_convert_is_screened_by_its_weights_and_measured_in_quarantine(
    held_out: Images, tmp_path: Path
) -> None:
    grey = replace(held_out, pixels=nn.functional.avg_pool2d(
        held_out.pixels.float().mean(1, keepdim=True), held_out.pixels.shape[-1] // 8
    ).to(torch.uint8))  # fmt: skip
    network = trained(digits_network(), grey)
    path = unconvertible(network, tmp_path)
    save_images(grey, tmp_path / "clean.npz")
    code, record = scanned(path, "--data", "clean.npz")
    assert (code, record["verdict"]["decision"]) == (3, "undecided")
    assert any("no operator 'ThresholdedRelu'" in why for why in record["verdict"]["reasons"])
    accuracy = record["verification"]["before"]["clean_accuracy"]
    right = (network(grey.floats()).argmax(1) == grey.labels).float().mean()
    assert accuracy["n"] == record["data"]["verify"] > 100
    assert accuracy["low"] <= float(right) <= accuracy["high"]
    assert record["screens"]["neuron-norm"]["score"] is not None
    assert record["screens"]["trigger-inversion"]["outcome"] == "not-run"
    # A BatchNorm that the exporter folded, or that stands apart, counts alike.
    norms = next(one["before"] for one in record["norms"] if one["kind"] == "conv")
    scale = network[1].weight / (network[1].running_var + network[1].eps).sqrt()  # type: ignore[index, operator]
    expected = network[0].weight.flatten(1).norm(dim=1) * scale.abs()  # type: ignore[index, operator]
    torch.testing.assert_close(torch.tensor(norms), expected.detach(), rtol=1e-4, atol=1e-6)
    told = " ".join(one["reason"] for one in record["skipped"])
    assert "measured through onnxruntime in quarantine" in told
    assert "need a network, not its layers alone: trigger-inversion" in told
    assert not (tmp_path / "run/hardened.onnx").exists()
    # A run is kept only for the same images.
    few = Images(pixels=grey.pixels[:200], labels=grey.labels[:200], classes=grey.classes)
    save_images(few, tmp_path / "clean.npz")
    code, record = scanned(path, "--data", "clean.npz", "--resume")
    assert record["verification"]["before"]["clean_accuracy"]["n"] < accuracy["n"]


def test_every_screen_of_weights_serves_layers_alone(tmp_path: Path) -> None:
    path = unconvertible(digits_network(), tmp_path)
    (tmp_path / "graph.json").write_text(json.dumps(taken(path).graph))
    model = load_loose(tmp_path / "graph.json", path.with_suffix(".safetensors"), Card())
    assert model is not None
    assert len(model.classes) == 10
    for screen in UNIT_SCREENS.values():
        result, _ = screen()(model)
        assert result.score is not None
    # Somebody who knows of other classes is not told of a head that is none.
    known = Card(num_classes=7)
    model = load_loose(tmp_path / "graph.json", path.with_suffix(".safetensors"), known)
    assert model is not None
    with pytest.raises(StepError, match="one row for each class"):
        UNIT_SCREENS["last-layer"]()(model)


def test_classes_that_are_not_the_graphs_are_told(held_out: Images, tmp_path: Path) -> None:
    path = unconvertible(digits_network()[:-1].append(nn.Linear(1024, 7)), tmp_path)  # type: ignore[index, operator, union-attr]
    grey = replace(held_out, pixels=held_out.pixels[:, :1, :8, :8])
    save_images(grey, tmp_path / "clean.npz")
    code, record = scanned(path, "--data", "clean.npz")
    assert code == 3
    assert record["verification"] is None
    assert any("answers with 7 numbers" in one["reason"] for one in record["skipped"])


def test_a_graph_that_is_none_never_becomes_a_network_that_its_tensors_fit(tmp_path: Path) -> None:
    path = exported(SmallResNet(3, 10), tmp_path / "model.onnx", dynamo=False, folded=False)
    proto = onnx.load(path)
    proto.graph.node.append(helper.make_node("Fancy", ["x"], ["z"], domain="com.acme"))
    proto.graph.node[-1].input[0] = proto.graph.input[0].name
    code, record = scanned(saved(proto, tmp_path))
    assert code == 3
    assert any("com.acme::Fancy" in why for why in record["verdict"]["reasons"])
    assert any("Only the finiteness" in one["reason"] for one in record["skipped"])
    assert record["candidate"]["architecture"] is None


def test_weights_that_are_not_finite_are_found_even_where_nothing_converts(tmp_path: Path) -> None:
    nodes = [helper.make_node("Det", ["x"], ["d"]), helper.make_node("Add", ["d", "w"], ["y"])]
    proto = model(nodes, [constant("w", [1.0, float("nan")])])
    code, record = scanned(saved(proto, tmp_path))
    assert "non-finite-weights" in [finding["rule_id"] for finding in record["findings"]]
    assert code in (1, 3)
