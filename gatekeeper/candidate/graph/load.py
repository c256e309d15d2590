"""A graph, its tensors and a card become a Model."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file

from gatekeeper.candidate.graph.convert import ConversionError, convert, ends_in_softmax
from gatekeeper.candidate.graph.loose import loose_layers
from gatekeeper.candidate.graph.record import Graph, read_graph
from gatekeeper.card import Card
from gatekeeper.errors import CardError
from gatekeeper.model import Model
from gatekeeper.records import InputSpec

_ARCHITECTURE = "onnx"


def load_graph(
    graph: Path,
    weights: Path,
    card: Card,
    *,
    classes: tuple[str, ...] | None = None,
    purified: Path | None = None,
) -> Model:
    """Build the network of `graph`, as JSON that quarantine told, with the tensors of `weights`.

    Args:
        graph: written by the read step.
        weights: a safetensors file that quarantine wrote.
        card: what the operator knows of input and classes; the graph is the architecture.
        classes: names to use where the card has none.
        purified: the network's own state after purification, to be put in.

    Raises:
        CandidateError: the graph is none.
        ConversionError: the graph does not become a network.
        CardError: input or classes of the card are not the graph's.
    """
    known = read_graph(json.loads(graph.read_text(encoding="utf-8")))
    spec = _spec(known, card)
    network, answer = convert(known, load_file(weights), spec.size)
    if len(answer) != 2 or answer[1] < 2:
        message = f"the ONNX graph answers two images with {answer}, not with a row of classes each"
        raise ConversionError(message)
    if purified is not None:
        network.load_state_dict(load_file(purified))
    return Model(
        network=network,
        input=spec,
        classes=_classes(card, answer[1], classes),
        architecture=_ARCHITECTURE,
        output="probabilities" if ends_in_softmax(known) else card.output,
    )


def load_loose(
    graph: Path, weights: Path, card: Card, *, classes: tuple[str, ...] | None = None
) -> Model | None:
    """Give the layers of a graph that does not convert, for screens that need weights alone.

    The last of them counts as the head, unless card or folder know another number of classes.
    None where no layer has its weights in the file.
    """
    known = read_graph(json.loads(graph.read_text(encoding="utf-8")))
    network = loose_layers(known, load_file(weights))
    found = list(network.parameters())
    if not found:
        return None
    names = card.classes or classes or tuple(map(str, range(card.num_classes or len(found[-1]))))
    channels, height, width = (length or 1 for length in known.shape[1:])
    spec = InputSpec(size=(channels, height, width), mean=(0.0,) * channels, std=(1.0,) * channels)
    return Model(network=network, input=spec, classes=names, architecture=_ARCHITECTURE)


def input_of(graph: Path, card: Card) -> tuple[InputSpec, int | None]:
    """Tell what a graph is fed, and how many images at once; None where that is free.

    Raises:
        CandidateError: the graph is none.
        CardError: its size is free and no card tells it, or the card tells another.
    """
    known = read_graph(json.loads(graph.read_text(encoding="utf-8")))
    return _spec(known, card), known.shape[0]


def _spec(graph: Graph, card: Card) -> InputSpec:
    """Take the size from the graph where it is fixed, all else from the card."""
    fixed = graph.shape[1:]
    if card.spec is not None:
        size = card.spec.size
        if any(own not in (None, given) for own, given in zip(fixed, size, strict=True)):
            message = f"the ONNX graph takes images of size {_shown(fixed)}, the card says {size}"
            raise CardError(message, hint="Correct input.size in the card.")
        return card.spec
    channels, height, width = fixed
    if channels not in (1, 3) or height is None or width is None:
        message = f"the ONNX graph takes images of size {_shown(fixed)}"
        hint = "Give --card FILE with input: { size: [channels, height, width], mean, std }."
        raise CardError(message, hint=hint)
    return InputSpec(size=(channels, height, width), mean=(0.0,) * channels, std=(1.0,) * channels)


def _shown(size: tuple[int | None, ...]) -> str:
    return f"({', '.join('free' if length is None else str(length) for length in size)})"


def _classes(card: Card, count: int, given: tuple[str, ...] | None) -> tuple[str, ...]:
    known = len(card.classes) if card.classes is not None else card.num_classes
    if known not in (None, count):
        message = f"the ONNX graph has {count} classes, the card says {known}"
        raise CardError(message, hint="Correct classes in the card.")
    if card.classes is not None:
        return card.classes
    if given is not None and len(given) == count:
        return given
    return tuple(str(number) for number in range(count))
