"""The exported file is the network: any batch, no path, no code of ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import fresh_network
from torch import Tensor, nn

from gatekeeper.errors import StepError
from gatekeeper.export import export, parity, predictions
from gatekeeper.model import Images, Model
from gatekeeper.records import InputSpec

GREY = InputSpec(size=(1, 28, 28), mean=(0.1307,), std=(0.3081,))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, clean_model: Model) -> Path:
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    export(clean_model, path, metadata={"gatekeeper.candidate_sha256": "ab" * 32})
    return path


def test_it_answers_as_torch_does(exported: Path, clean_model: Model, held_out: Images) -> None:
    compared = parity(clean_model, exported, held_out)
    assert compared.top1_agreement == 1.0
    assert compared.max_abs_diff < 1e-3
    assert compared.samples == len(held_out)


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_the_batch_is_free(exported: Path, batch: int) -> None:
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    pixels = np.zeros((batch, 1, 32, 32), dtype=np.float32)
    assert session.run(["logits"], {"pixels": pixels})[0].shape == (batch, 10)


def test_it_names_digests_and_no_path(exported: Path) -> None:
    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["gatekeeper.candidate_sha256"] == "ab" * 32
    content = exported.read_bytes()
    for trace in ("site-packages", ".py", str(Path.home()), str(Path.cwd()), "/tmp"):
        assert trace.encode() not in content


def test_another_network_does_not_agree(
    exported: Path, backdoored: Model, held_out: Images, clean_model: Model
) -> None:
    assert parity(fresh_network(3), exported, held_out).top1_agreement < 0.9
    assert (predictions(exported, held_out) == held_out.labels.numpy()).mean() > 0.9


def test_a_softmax_at_the_end_is_turned_into_logits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.Softmax(1)).eval()
    model = Model(
        network=network, input=GREY, classes=tuple("0123456789"), architecture="softmax",
        output="probabilities",
    )  # fmt: skip
    export(model, tmp_path / "model.onnx", metadata={})
    chance = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (4, 1, 28, 28), dtype=torch.uint8, generator=chance)
    images = Images(pixels=pixels, labels=torch.zeros(4, dtype=torch.int64), classes=model.classes)
    assert parity(model, tmp_path / "model.onnx", images).max_abs_diff < 1e-3


def test_what_cannot_be_exported_is_said_and_leaves_no_file(tmp_path: Path) -> None:
    class Wilful(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) if float(x.sum()) > 0 else x.flatten(1)[:, :5]

    model = Model(
        network=nn.Sequential(Wilful()), input=GREY, classes=("a", "b"), architecture="wilful"
    )
    with pytest.raises(StepError, match="cannot export wilful"):
        export(model, tmp_path / "model.onnx", metadata={})
    assert list(tmp_path.iterdir()) == []
