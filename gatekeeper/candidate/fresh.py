"""A card alone becomes an untrained Model: what a red team trains its victim from."""

from __future__ import annotations

import torch

from gatekeeper.candidate.architectures import build
from gatekeeper.card import Card, own_file
from gatekeeper.errors import CardError
from gatekeeper.model import Model


def untrained(card: Card, *, classes: tuple[str, ...], seed: int) -> Model:
    """Build the card's architecture with weights drawn by `seed`, as its code draws them.

    Raises:
        CardError: the card names no architecture or no input, or code that does not build.
    """
    if card.architecture is None or card.spec is None:
        message = "the card must name architecture and input"
        raise CardError(message, hint="Write `architecture: torchvision:resnet18` and `input: ...`")
    own = own_file(card)
    name = f"{own}:{card.architecture.rpartition(':')[2]}" if own else card.architecture
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(name, card.spec, len(classes), trusted=card.trusted).float()
    return Model(
        network=network, input=card.spec, classes=classes, architecture=card.architecture,
        output=card.output,
    )  # fmt: skip
