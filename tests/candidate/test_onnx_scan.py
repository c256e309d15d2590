"""An ONNX candidate through the whole gate, as an operator would start it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from candidates import gatekeeper, quick_policy, save_images
from graphs import constant, linear, model, saved
from onnx import TensorProto, helper

from gatekeeper.export import export
from gatekeeper.model import Images, Model


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


def test_weights_that_are_not_finite_are_found_even_where_nothing_converts(tmp_path: Path) -> None:
    nodes = [helper.make_node("Det", ["x"], ["d"]), helper.make_node("Add", ["d", "w"], ["y"])]
    proto = model(nodes, [constant("w", [1.0, float("nan")])])
    code, record = scanned(saved(proto, tmp_path))
    assert "non-finite-weights" in [finding["rule_id"] for finding in record["findings"]]
    assert code in (1, 3)
