"""The gate wants no network: not from Python, not from C, not from a child."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch
from candidates import gatekeeper
from no_network import alone, skip_unless_possible
from safetensors.torch import save_file

CALL = "import socket; socket.socket().connect_ex(('{}', 9))"
CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-I', '-c', sys.argv[1]])"
# For longer than the runtime waits before it reports.
RUNTIME = """
import sys, time, gatekeeper, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
session.run(None, {"x": numpy.ones(1, numpy.float32)})
time.sleep(10)
"""


@pytest.fixture
def count(tmp_path: Path) -> Path:
    skip_unless_possible()
    return tmp_path / "count"


@pytest.mark.parametrize("address", ["192.0.2.1", "127.0.0.1"])
def test_a_connection_of_a_child_is_counted(address: str, count: Path) -> None:
    words = [sys.executable, "-I", "-c", CHILD, CALL.format(address)]
    subprocess.run([*alone(count), *words], check=True)
    assert int(count.read_text()) > 0


def test_inspecting_wants_no_network(count: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    torch.save({"w": torch.ones(3)}, folder / "a.pt")
    save_file({"w": torch.ones(3)}, folder / "a.safetensors")
    (folder / "bad.pt").write_bytes(b"csocket\ncreate_connection\n((S'192.0.2.1'\nI9\ntR.")
    done = gatekeeper("inspect", folder, cwd=tmp_path, before=alone(count))
    assert done.returncode == 1, done.stderr
    assert count.read_text() == "0"


def test_a_scan_without_images_wants_no_network(count: Path, tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3, 3)}, tmp_path / "a.pt")
    done = gatekeeper("scan", "a.pt", "--out", "run", cwd=tmp_path, before=alone(count))
    assert done.returncode == 3, done.stderr
    assert count.read_text() == "0"


@pytest.mark.slow
def test_the_demo_wants_no_network(count: Path, tmp_path: Path) -> None:
    done = gatekeeper("demo", "--out", "shown", "--quiet", cwd=tmp_path, before=alone(count))
    assert done.returncode == 0, done.stderr + done.stdout
    assert (tmp_path / "shown/run/hardened.onnx").exists()
    assert count.read_text() == "0"


def test_onnx_runtime_reports_to_nobody(count: Path, tmp_path: Path) -> None:
    value = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1]) for n in "xy"]
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", value[:1], value[1:])
    opsets = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.save(model, tmp_path / "m.onnx")
    words = [sys.executable, "-c", RUNTIME, str(tmp_path / "m.onnx")]
    # A home of its own: one that knows of earlier failures waits longer.
    subprocess.run([*alone(count), *words], check=True, env={**os.environ, "HOME": str(tmp_path)})
    assert count.read_text() == "0"
    assert not (tmp_path / ".cache").exists()
