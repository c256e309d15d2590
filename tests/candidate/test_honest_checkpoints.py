"""What ordinary training loops write beside their weights is no finding, and is read."""

from __future__ import annotations

from argparse import Namespace
from collections import OrderedDict, defaultdict
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from gatekeeper.candidate.extraction import extract
from gatekeeper.candidate.inspect import inspect

LAYER = torch.nn.Linear(3, 2)
STATE = LAYER.state_dict()


def training() -> dict[str, Any]:
    optimizer = torch.optim.AdamW(LAYER.parameters())
    LAYER(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=9)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    return {
        "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(),
        "scaler": scaler.state_dict(), "rng": torch.get_rng_state(), "numpy": np.random.get_state(),
    }  # fmt: skip


def tagged() -> torch.Tensor:
    """Give a tensor with an attribute of its own, which is pickled by way of its class."""
    tensor = torch.ones(2)
    tensor.layout_of_axes = "NC"  # type: ignore[attr-defined]
    return tensor


CHECKPOINTS: dict[str, dict[str, Any]] = {
    "loop": {"state_dict": STATE, "epoch": 3, **training()},
    "EMA": {"model": STATE, "model_ema": AveragedModel(LAYER).state_dict(), "best": 0.9},
    "numbers": {"net": STATE, "acc": np.float32(0.5), "step": np.int64(3), "ok": np.bool_(1),
                "confusion": np.eye(3), "names": np.array(["a"]), "seen": defaultdict(int, a=1)},
    "configuration": {"model": STATE, "when": datetime(2026, 1, 2, tzinfo=UTC), "on": {1, 2},
                      "paths": [PurePosixPath("/a"), Path("b"), PureWindowsPath("c")],
                      "args": Namespace(lr=0.1, mean=(0.5,)), "dtype": torch.float16,
                      "device": torch.device("cpu"), "size": torch.Size([3]),
                      "torch": torch.__version__},
    "dates": {"net": STATE, "day": np.datetime64("2026-01-02"), "took": np.timedelta64(3, "s"),
              "log": np.array(["2026-01-02T03:04"], dtype="M8[ns]")},
    "attributes": {"net": STATE, "tagged": tagged(), "buffer": torch.nn.Buffer(torch.ones(2))},
    "Lightning": {"state_dict": OrderedDict((f"net.{k}", v) for k, v in STATE.items()),
                  "pytorch-lightning_version": "2.5.0", "callbacks": {"C{'m': 1}": {"best": 0.9}},
                  "loops": {"fit_loop": {}}, "optimizer_states": [training()["optimizer"]],
                  "hyper_parameters": {"lr": 0.1}, "MixedPrecision": training()["scaler"]},
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKPOINTS)
@pytest.mark.parametrize(
    "more", [{}, {"pickle_protocol": 4}, {"_use_new_zipfile_serialization": 0}]
)
def test_an_honest_checkpoint_is_clean_and_read(
    name: str, more: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "model.ckpt"
    torch.save(CHECKPOINTS[name], path, **more)
    inspection = inspect(path)
    assert (inspection.findings, inspection.unreadable) == ((), "")
    with path.open("rb") as stream:
        extraction = extract(stream, inspection.artifact.kind, tmp_path / "out.safetensors")
    assert {key.rpartition(".")[2] for key in extraction.tensors} == {"weight", "bias"}


def test_paths_of_later_pythons_are_no_import(tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(b"\x80\x02cpathlib._local\nPosixPath\n(X\x01\x00\x00\x00atR.")
    assert inspect(tmp_path / "m.pkl").findings == ()
