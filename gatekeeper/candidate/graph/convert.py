"""Turns a checked graph and its tensors into a network, node by node, sizes before numbers."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gatekeeper.candidate.cost import Cost
from gatekeeper.candidate.graph.layers import LAYERS
from gatekeeper.candidate.graph.network import FLOWS, GraphNetwork, Operation, Step, planned
from gatekeeper.candidate.graph.numbers import NUMBERS, shape
from gatekeeper.candidate.graph.ops import (
    FUNCTIONS,
    PARAMETERS,
    SAME,
    SOFTMAX,
    softmax,
    tells_nan,
)
from gatekeeper.candidate.graph.record import Graph, Node
from gatekeeper.errors import StepError

HINT = "Ask its maker for a state dict or a .safetensors file, and give --card."
_FREE_BATCH = "Ask its maker for an export whose batch dimension is free, or for a state dict."
_IMAGES = 2
_MOST_SECONDS = 8  # of this thread; a large transformer of 8,000 nodes takes three
_MOST_LITERAL = 1_000
_FREE_ROOM = 1 << 27  # bytes of constants, beyond twice those of the file
_KNOWN = {*FUNCTIONS, *LAYERS, *SOFTMAX, *SAME, "Shape"}
_PLAIN_SOFTMAX = 13  # the opset since which a softmax is over one axis


class ConversionError(StepError):
    """The graph holds what the gate does not convert."""

    hint = HINT


def convert(
    graph: Graph, tensors: Mapping[str, Tensor], size: tuple[int, int, int]
) -> tuple[nn.Module, tuple[int, ...]]:
    """Build the network for images of `size`, and tell the shape of its answer to two of them.

    Raises:
        ConversionError: an operator that is not on the list, or is not used as it is known;
            tensors or work beyond what a classifier needs.
    """
    nodes = _needed(graph)
    if unknown := sorted({node.op for node in nodes} - _KNOWN):
        named = ", ".join(repr(name[:40]) for name in unknown[:5])
        message = f"the ONNX graph does not convert: no operator {named} is on the gate's list"
        raise ConversionError(message)
    builder = _Builder(graph, nodes, tensors, size)
    until = time.thread_time() + _MOST_SECONDS
    for node in nodes:
        try:
            if time.thread_time() > until:
                message = f"its {len(nodes):,} nodes take more than {_MOST_SECONDS} seconds"
                raise TimeoutError(message)
            builder.add(node)
        except Exception as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            shown = f"{node.op} {node.name[:80]!r}" if node.name else node.op
            message = f"the ONNX graph does not convert at {shown}: {first}"
            hint = _FREE_BATCH if graph.shape[0] is not None else HINT
            raise ConversionError(message, hint=hint) from error
    return builder.network(graph.output)


def ends_in_softmax(graph: Graph) -> bool:
    """Tell whether what comes out are probabilities."""
    givers = {name: node for node in graph.nodes for name in node.outputs if name}
    name = graph.output
    while (node := givers.get(name)) is not None:
        if node.op in ("Softmax", "Sigmoid"):
            return True
        if node.op not in (*SAME, "Reshape", "Flatten", "Squeeze", "Cast") or not node.inputs:
            return False
        name = node.inputs[0]
    return False


def _needed(graph: Graph) -> list[Node]:
    """Leave out nodes that nothing of the answer comes from."""
    wanted, kept = {graph.output}, []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs):
            wanted.update(node.inputs)
            kept.append(node)
    return kept[::-1]


def _short(constant: Tensor) -> bool:
    return constant.dim() <= 1 and constant.numel() <= _MOST_LITERAL


class _Builder:
    """What is known while the nodes are taken in order: constants, and values that flow."""

    def __init__(
        self, graph: Graph, nodes: list[Node], tensors: Mapping[str, Tensor],
        size: tuple[int, int, int],
    ) -> None:  # fmt: skip
        self.constants = dict(tensors)
        self.slots = {graph.input: 0}
        self.flowing: dict[int, Any] = {0: torch.zeros(_IMAGES, *size, device="meta")}
        self.steps: list[Step] = []
        self.names = Counter([0])  # of each slot: a second one is by what others take it
        self.built = GraphNetwork()
        self.baked = graph.shape[0]
        self.old = graph.opset < _PLAIN_SOFTMAX
        self.uses = Counter(name for node in nodes for name in node.inputs) + Counter(
            [graph.output]
        )
        self.cost = Cost()
        # One large constant that many nodes hold would be as many copies.
        self.room = 2 * sum(tensor.nbytes for tensor in tensors.values()) + _FREE_ROOM

    def network(self, output: str) -> tuple[nn.Module, tuple[int, ...]]:
        if output not in self.slots:
            message = "the ONNX graph answers the same to every image"
            raise ConversionError(message)
        answer = self.slots[output]
        self.built.plan, self.built.answer = planned(self.steps, answer), answer
        sizes = self.flowing[answer]
        return self.built.eval(), tuple(sizes.shape) if isinstance(sizes, Tensor) else ()

    def add(self, node: Node) -> None:
        if any(self.uses[name] for name in node.outputs[1:]) and node.op != "Split":
            message = "its second output is used"
            raise ValueError(message)
        if node.op in SAME:
            self._alias(node.outputs[0], node.inputs[0])
        elif self._is_layer(node):
            self._add_layer(node)
        elif not self._joins_bias(node):
            for which, output in enumerate(node.outputs[: None if node.op == "Split" else 1]):
                self._add_operation(node, which, output)

    def _alias(self, name: str, source: str) -> None:
        if source in self.slots:
            self._call(name, self.slots[source])
        else:
            self.constants[name] = self.constants[source]

    def _call(self, name: str, slot: int) -> None:
        self.slots[name] = slot
        self.names[slot] += 1

    def _is_layer(self, node: Node) -> bool:
        """Its first input flows, the others are constants; one matrix times another is no layer."""
        first, *others = node.inputs
        constant = all(name in self.constants for name in others if name)
        if node.op in LAYERS and node.op != "MatMul" and not (first in self.slots and constant):
            message = "its weights are computed"
            raise ValueError(message)
        flat = node.op != "MatMul" or (
            first in self.slots and constant and self.constants[others[0]].dim() == 2
        )
        return node.op in LAYERS and flat

    def _add_layer(self, node: Node) -> None:
        first, *others = node.inputs
        slot = self.slots[first]
        weights = [self._held(self.constants[name]) if name else None for name in others]
        words = dict(node.attributes)
        for module in LAYERS[node.op](self.flowing[slot], *weights, **words):
            slot = self._put(module, [slot], self._name(node, others[0]))
        self._call(node.outputs[0], slot)

    def _joins_bias(self, node: Node) -> bool:
        """A row that is added to a product, and to nothing else, is the linear layer's bias."""
        if node.op != "Add":
            return False
        for product, row in (node.inputs, node.inputs[::-1]):
            if product not in self.slots or row not in self.constants or self.uses[product] != 1:
                continue
            slot = self.slots[product]
            if self.names[slot] != 1 or not slot:
                continue
            layer = getattr(self.built, self.steps[slot - 1].module)  # slot 0 is the image
            bias = self.constants[row]
            if (
                isinstance(layer, nn.Linear)
                and layer.bias is None
                and bias.shape == (layer.out_features,)
                and bias.dtype == layer.weight.dtype
            ):
                layer.bias = nn.Parameter(self._held(bias).detach().clone())
                self._alias(node.outputs[0], product)
                return True
        return False

    def _add_operation(self, node: Node, which: int, output: str) -> None:
        takes = [self.slots[name] for name in node.inputs if name in self.slots]
        on_numbers = node.op in NUMBERS and bool(takes) and self._all_numbers(node)
        if takes and not on_numbers and tells_nan(node.op, node.attributes):
            message = (
                "by it the network could tell NaN apart, of which onnxruntime and torch differ"
            )
            raise ValueError(message)
        function, words = self._function(node, which, numbers=on_numbers)
        given = list(self._given(node, numbers=on_numbers))
        operation = Operation(function, given, words)
        if takes:
            self._call(output, self._put(operation, takes, self._name(node, "")))
            return
        sizes = self.cost.shown(operation, ())
        if isinstance(sizes, Tensor):
            self._charge(sizes)
        with torch.no_grad():
            self.constants[output] = torch.as_tensor(operation())

    def _function(self, node: Node, which: int, *, numbers: bool) -> tuple[Any, dict[str, Any]]:
        words: dict[str, Any] = dict(node.attributes)
        if node.op == "Shape":
            return shape, words
        if numbers:
            return NUMBERS[node.op], words
        if node.op in SOFTMAX:
            return softmax(SOFTMAX[node.op], self.old), words
        if node.op == "Split":
            words |= {"which": which, "count": len(node.outputs)}
        return FUNCTIONS[node.op], words

    def _all_numbers(self, node: Node) -> bool:
        flowing = [self.flowing[self.slots[name]] for name in node.inputs if name in self.slots]
        constants = [self.constants[name] for name in node.inputs if name in self.constants]
        return not any(isinstance(one, Tensor) for one in flowing) and all(map(_short, constants))

    def _given(self, node: Node, *, numbers: bool) -> Iterator[Any]:
        """Give each input as what flows, a tensor of its own, or plain numbers."""
        for place, name in enumerate(node.inputs):
            plain = numbers or place in PARAMETERS.get(node.op, ())
            if not name:
                yield None
            elif name in self.slots:
                if plain and not numbers and isinstance(self.flowing[self.slots[name]], Tensor):
                    message = f"its input {place} is computed"
                    raise ValueError(message)
                yield FLOWS
            else:
                constant = self.constants[name]
                if plain and not _short(constant):
                    message = f"its input {place} is no short list of numbers"
                    raise ValueError(message)
                literal = plain or (node.op == "Gather" and place == 1 and _short(constant))
                yield self._literal(node, constant) if literal else self._held(constant)

    def _literal(self, node: Node, constant: Tensor) -> Any:
        """Give plain numbers; a batch that was baked into a shape becomes the one at hand."""
        numbers = constant.tolist()
        if node.op != "Reshape" or self.baked is None or node.inputs[0] not in self.slots:
            return numbers
        flowing = self.flowing[self.slots[node.inputs[0]]]
        first = isinstance(flowing, Tensor) and flowing.shape[:1] == (_IMAGES,)
        return [None, *numbers[1:]] if first and numbers[:1] == [self.baked] else numbers

    def _held(self, constant: Tensor) -> Tensor:
        self._charge(constant)
        return constant

    def _charge(self, constant: Tensor) -> None:
        """Count what will be held, before it is made."""
        self.room -= constant.numel() * constant.element_size()
        if self.room < 0:
            message = "its constants, and those computed from them, take too much memory"
            raise ValueError(message)

    def _put(self, module: nn.Module, takes: list[int], name: str) -> int:
        module.eval()
        sizes = self.cost.shown(module, [self.flowing[slot] for slot in takes])
        slot = len(self.steps) + 1
        self.flowing[slot] = sizes
        self.built.add_module(name, module)
        self.steps.append(Step(name, tuple(takes), slot))
        return slot

    def _name(self, node: Node, weight: str) -> str:
        """Name a module by its weight, else by its node, as an attribute that is still free."""
        called = weight.removesuffix(".weight") if weight.endswith(".weight") else ""
        called = called or node.name or weight or node.op
        clean = re.sub(r"\W+", "_", called, flags=re.ASCII).strip("_")[:60] or node.op.lower()
        clean = clean if clean[0].isalpha() else f"n{clean}"
        while hasattr(self.built, clean):
            clean = f"{clean}_n{len(self.steps)}"
        return clean
