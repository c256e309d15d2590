"""The layers of a graph that does not convert: their weights, and no way through them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from torch import Tensor, nn

from gatekeeper.candidate.graph.record import Graph, Node

_CONVS: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {
    3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d,
}  # fmt: skip
_EPSILON = 1e-5  # ONNX's own, where a BatchNormalization tells none


class LooseLayers(nn.Module):
    """Holds layers in the order of their graph; what stands between them is not known."""

    def forward(self, x: Tensor) -> Tensor:
        """Refuse: nothing leads from one layer to the next."""
        raise NotImplementedError


def loose_layers(graph: Graph, tensors: Mapping[str, Tensor]) -> LooseLayers:
    """Give every convolution and linear layer whose weight stands in the file as such.

    A BatchNormalization that alone takes what a convolution gives is folded into its weight.
    """
    uses = Counter(name for node in graph.nodes for name in node.inputs)
    takers = {name: node for node in graph.nodes for name in node.inputs if uses[name] == 1}
    found, held = LooseLayers(), set()
    for node in graph.nodes:
        name = node.inputs[1] if len(node.inputs) > 1 else ""
        weight = tensors.get(name)
        if weight is None or name in held or not weight.is_floating_point() or not weight.numel():
            continue
        layer = _layer(node, weight.float(), takers.get(node.outputs[0]), tensors)
        if layer is not None:
            held.add(name)
            found.add_module(_called(name, found), layer)
    return found.eval()


def _layer(
    node: Node, weight: Tensor, taker: Node | None, tensors: Mapping[str, Tensor]
) -> nn.Module | None:
    layer: nn.Module
    if node.op == "Conv" and weight.dim() in _CONVS:
        if taker is not None and taker.op == "BatchNormalization":
            weight = _folded(weight, taker, tensors)
        out, into, *kernel = weight.shape
        layer = _CONVS[weight.dim()](into, out, tuple(kernel), bias=False, device="meta")  # type: ignore[arg-type]
    elif node.op in ("Gemm", "MatMul") and weight.dim() == 2:
        weight = weight if node.attributes.get("transB") else weight.T
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    else:
        return None
    layer.weight = nn.Parameter(weight.detach().clone().contiguous())
    return layer


def _folded(weight: Tensor, norm: Node, tensors: Mapping[str, Tensor]) -> Tensor:
    gamma, variance = (tensors.get(name) for name in (*norm.inputs[1:5:3], "", "")[:2])
    epsilon = norm.attributes.get("epsilon", _EPSILON)
    if gamma is None or variance is None or not isinstance(epsilon, float):
        return weight
    if not gamma.shape == variance.shape == weight.shape[:1]:
        return weight
    scale = gamma.float() * (variance.float() + epsilon).rsqrt()  # (out,)
    return weight * scale.view(-1, *[1] * (weight.dim() - 1))


def _called(name: str, found: nn.Module) -> str:
    clean = re.sub(r"\W+", "_", name.removesuffix(".weight"), flags=re.ASCII).strip("_")[:60]
    clean = clean if clean[:1].isalpha() else f"n{clean}"
    while hasattr(found, clean):
        clean = f"{clean}_n{len(list(found.children()))}"
    return clean
