"""What a graph costs to convert is bounded before it is paid."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import SIZE, constant, model, saved, taken
from onnx import helper
from safetensors.torch import load_file

from gatekeeper.candidate.graph.convert import ConversionError, convert
from gatekeeper.candidate.graph.record import read_graph

MOST = 20_000
SECONDS = "gatekeeper.candidate.graph.convert._MOST_SECONDS"
node = helper.make_node
# Converts in a process of its own, and tells what went wrong and the megabytes that it took.
MEASURED = """
import json, resource, sys
from pathlib import Path
from safetensors.torch import load_file
from gatekeeper.candidate.graph.convert import ConversionError, convert
from gatekeeper.candidate.graph.record import read_graph
import torch.fx.experimental.symbolic_shapes
folder = Path(sys.argv[1])
graph = read_graph(json.loads((folder / "graph.json").read_text()))
tensors = load_file(folder / "model.safetensors")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    convert(graph, tensors, (3, 8, 8))
except Exception as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before >> 10)
"""


def padded(name: str, number: int) -> onnx.NodeProto:
    return node("Pad", [name, "pads"], [f"large{number}"])


GROWING: dict[str, Callable[[], onnx.ModelProto]] = {
    "pads": lambda: model(
        [*(padded("one", k) for k in range(20)),
         *(node("Add", ["x" if k == 0 else f"y{k}", f"large{k}"], [f"y{k + 1}"])
           for k in range(19)), node("Add", ["y19", "large19"], ["y"])],
        [constant("one", [1.0]), constant("pads", [0, (1 << 26) - 1], "int64")],
    ),
    "fills": lambda: model(
        [*(node("ConstantOfShape", ["shape"], [f"c{k}"]) for k in range(300)),
         node("Concat", [f"c{k}" for k in range(300)], ["all"], axis=0),
         node("Add", ["x", "all"], ["y"])],
        [constant("shape", [1 << 22], "int64")],
    ),
    "doubles": lambda: model(
        [*(node("Concat", [f"d{k}", f"d{k}"], [f"d{k + 1}"], axis=0) for k in range(27)),
         node("Add", ["x", "d27"], ["y"])],
        [constant("d0", np.ones(4))],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GROWING)
def test_constants_are_counted_before_they_are_computed(name: str, tmp_path: Path) -> None:
    path = saved(GROWING[name](), tmp_path)
    (tmp_path / "graph.json").write_text(json.dumps(taken(path).graph))
    words = [sys.executable, "-c", MEASURED, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    told, grown = done.stdout.splitlines()
    assert "take too much memory" in told or "too many" in told
    assert int(grown) < 512


def relus(count: int) -> onnx.ModelProto:
    nodes = [
        node("Relu", ["x" if k == 0 else f"v{k}"], [f"v{k + 1}" if k < count - 1 else "y"])
        for k in range(count)
    ]
    return model(nodes, [constant("unused", [1.0])])


def products(count: int) -> onnx.ModelProto:
    nodes = []
    for k in range(count // 2):
        last = "y" if k == count // 2 - 1 else f"a{k + 1}"
        nodes += [
            node("MatMul", ["x" if k == 0 else f"a{k}", "w"], [f"m{k}"]),
            node("Add", [f"m{k}", "b"], [last]),
        ]
    return model(nodes, [constant("w", np.eye(8)), constant("b", np.ones(8))])


@pytest.mark.parametrize("many", [relus, products])
def test_as_many_nodes_as_are_taken_convert(
    many: Callable[[int], onnx.ModelProto], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SECONDS, 600)  # a slow processor may need more than are given
    path = saved(many(MOST), tmp_path)
    graph, tensors = read_graph(taken(path).graph), load_file(path.with_suffix(".safetensors"))
    network, answer = convert(graph, tensors, SIZE)
    assert answer == (2, *SIZE)
    assert len(list(network.children())) in (MOST, MOST // 2)


def test_nodes_that_take_long_each_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = read_graph(taken(saved(relus(MOST), tmp_path)).graph)
    monkeypatch.setattr(SECONDS, 0.01)
    with pytest.raises(ConversionError, match=r"20,000 nodes take more than 0\.01 seconds"):
        convert(graph, {}, SIZE)


def test_more_nodes_are_told(tmp_path: Path) -> None:
    told = taken(saved(relus(MOST + 1), tmp_path))
    assert "20,001 nodes, more than 20,000" in told.no_graph


def test_a_bias_joins_the_product_before_it_alone(tmp_path: Path) -> None:
    """Named twice, the product is also taken without the row."""
    nodes = [
        node("MatMul", ["x", "w"], ["m"]), node("Identity", ["m"], ["same"]),
        node("Add", ["m", "b"], ["a"]), node("Add", ["a", "same"], ["y"]),
    ]  # fmt: skip
    path = saved(model(nodes, [constant("w", np.eye(8)), constant("b", np.ones(8))]), tmp_path)
    network, _ = convert(
        read_graph(taken(path).graph), load_file(path.with_suffix(".safetensors")), SIZE
    )
    assert len(list(network.children())) == 3
