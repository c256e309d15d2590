"""The exported file is the network: any batch, no path, no code of ours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import fresh_network
from torch import Tensor, nn

from gatekeeper.candidate.networks import mlp
from gatekeeper.errors import StepError
from gatekeeper.export import _strip, export, parity, predictions
from gatekeeper.model import Images, Model
from gatekeeper.records import InputSpec

GREY = InputSpec(size=(1, 28, 28), mean=(0.1307,), std=(0.3081,))
CLASSES = tuple("0123456789")


def noise(count: int = 4) -> Images:
    chance = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8, generator=chance)
    labels = torch.zeros(count, dtype=torch.int64)
    return Images(pixels=pixels, labels=labels, classes=CLASSES)


def grey(*layers: nn.Module) -> Model:
    network = nn.Sequential(*layers).eval()
    return Model(network=network, input=GREY, classes=CLASSES, architecture="own")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, clean_model: Model) -> Path:
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    export(clean_model, path, metadata={"gatekeeper.candidate_sha256": "ab" * 32})
    return path


def test_it_answers_as_torch_does(exported: Path, clean_model: Model, held_out: Images) -> None:
    compared = parity(clean_model, exported, held_out)
    assert compared.top1_agreement == 1.0
    assert compared.max_abs_diff is not None
    assert compared.max_abs_diff < 1e-3
    assert compared.samples == len(held_out)
    assert (predictions(exported, held_out) == held_out.labels.numpy()).mean() > 0.9


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_the_batch_is_free(exported: Path, batch: int) -> None:
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    pixels = np.zeros((batch, 1, 32, 32), dtype=np.float32)
    assert session.run(["logits"], {"pixels": pixels})[0].shape == (batch, 10)


def test_it_names_digests_and_no_path(exported: Path) -> None:
    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    assert {e.key: e.value for e in model.metadata_props} == {
        "gatekeeper.candidate_sha256": "ab" * 32
    }
    content = exported.read_bytes()
    for trace in ("site-packages", ".py", str(Path.home()), str(Path.cwd()), "/tmp", "/home"):
        assert trace.encode() not in content


def test_the_same_network_gives_the_same_file(
    exported: Path, clean_model: Model, tmp_path: Path
) -> None:
    metadata = {"gatekeeper.candidate_sha256": "ab" * 32}
    before = {name: t.clone() for name, t in clean_model.network.state_dict().items()}
    opset = export(clean_model, tmp_path / "again.onnx", metadata=metadata)
    assert (tmp_path / "again.onnx").read_bytes() == exported.read_bytes()
    assert opset >= 18
    assert all(torch.equal(before[n], t) for n, t in clean_model.network.state_dict().items())
    assert all(weight.requires_grad for weight in clean_model.network.parameters())


def test_another_network_does_not_agree(exported: Path, held_out: Images) -> None:
    assert parity(fresh_network(3), exported, held_out).top1_agreement < 0.9


def test_a_fully_connected_network_is_exported_out_of_training(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = grey(mlp(1, 28, 28, 10), nn.Dropout(0.9))
    model.network.train()
    export(model, tmp_path / "model.onnx", metadata={})
    assert model.network.training
    assert parity(model, tmp_path / "model.onnx", noise(70)).top1_agreement == 1.0


def test_a_softmax_at_the_end_is_turned_into_logits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = replace(grey(nn.Flatten(), nn.Linear(784, 10), nn.Softmax(1)), output="probabilities")
    export(model, tmp_path / "model.onnx", metadata={})
    compared = parity(model, tmp_path / "model.onnx", noise())
    assert compared.max_abs_diff is not None
    assert compared.max_abs_diff < 1e-3
    session = onnxruntime.InferenceSession(
        str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    answers = session.run(["logits"], {"pixels": noise().floats().numpy()})[0]
    np.testing.assert_allclose(np.exp(answers).sum(axis=1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_answers_that_are_not_finite_agree_with_nothing(tmp_path: Path, broken: float) -> None:
    model = grey(nn.Flatten(), nn.Linear(784, 10))
    model.network[1].bias.data[3] = broken  # type: ignore[index,operator,union-attr]
    export(model, tmp_path / "model.onnx", metadata={})
    compared = parity(model, tmp_path / "model.onnx", noise())
    assert compared.top1_agreement == 0.0
    assert compared.max_abs_diff is None


class Wilful(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) if float(x.sum()) > 0 else x.flatten(1)[:, :5]


def test_what_cannot_be_exported_is_said_and_leaves_no_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StepError, match="cannot export own") as told:
        export(grey(Wilful()), tmp_path / "model.onnx", metadata={})
    assert "\n" not in str(told.value)
    assert told.value.hint
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().out == ""  # stdout carries the result alone


def invalid(program: object, *_: object, **__: object) -> None:
    raise onnx.checker.ValidationError("No Op registered\nfor Wilful")


def unserialisable(*_: object, **__: object) -> None:
    raise ValueError("Message onnx.ModelProto exceeds maximum protobuf size of 2GB")


@pytest.mark.parametrize("fault", [invalid, unserialisable])
def test_an_export_that_is_no_valid_onnx_ends_this_step_alone(
    fault: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx.checker, "check_model", fault)
    model = grey(nn.Flatten(), nn.Linear(784, 10))
    with pytest.raises(StepError, match="no valid ONNX") as told:
        export(model, tmp_path / "model.onnx", metadata={})
    assert "\n" not in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_onnxruntime_cannot_load_or_run_ends_this_step_alone(
    exported: Path, tmp_path: Path, clean_model: Model
) -> None:
    (tmp_path / "broken.onnx").write_bytes(exported.read_bytes()[:1000])
    with pytest.raises(StepError, match="cannot load the export"):
        parity(clean_model, tmp_path / "broken.onnx", noise())
    # The file wants 32 x 32.
    with pytest.raises(StepError, match="cannot run the export"):
        predictions(exported, noise())


def traced(graph: onnx.GraphProto | onnx.FunctionProto) -> None:
    """Leave a trace of the machine wherever ONNX has room for one."""
    for part in (graph, *graph.node, *graph.value_info, *graph.node[0].attribute):
        part.doc_string = "/home/me/secret.py"
        if not isinstance(part, onnx.AttributeProto):
            part.metadata_props.add(key="trace", value="/home/me/secret.py")


def test_no_trace_stays_in_the_graphs_inside_of_a_graph() -> None:
    """As `torch.cond` exports them: the branches of an If are graphs of their own."""
    value = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Constant", [], ["y"], value_float=1.0)
    inner = onnx.helper.make_graph([node], "then", [], [value], value_info=[value])
    outer = onnx.helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    wanted = onnx.helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, [])
    graph = onnx.helper.make_graph([outer], "main", [wanted], [value])
    domain = onnx.helper.make_opsetid("", 18)
    function = onnx.helper.make_function("own", "f", ["c"], ["y"], [outer], [domain])
    model = onnx.helper.make_model(graph, functions=[function], opset_imports=[domain])
    for each in (model.graph, model.functions[0]):
        traced(each)
        for attribute in each.node[0].attribute:
            traced(attribute.g)
            attribute.g.output[0].doc_string = "/home/me/secret.py"
    assert b"secret" in model.SerializeToString()
    _strip(model)
    assert b"secret" not in model.SerializeToString()
    onnx.checker.check_model(model)
