"""The card: what the organisation knows of a candidate (architecture, classes, input)."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gatekeeper.errors import CardError
from gatekeeper.records import InputSpec
from gatekeeper.validation import validated
from gatekeeper.yaml_source import read_yaml

_FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CardInput(BaseModel):
    """Size (channels, height, width) and normalisation after scaling pixels to [0, 1]."""

    model_config = _FROZEN
    size: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @model_validator(mode="after")
    def _consistent(self) -> CardInput:
        channels, height, width = self.size
        if channels not in (1, 3) or not (4 <= height <= 2048 and 4 <= width <= 2048):
            message = "size must be [1 or 3, 4..2048, 4..2048]"
            raise ValueError(message)
        if len(self.mean) != channels or len(self.std) != channels:
            message = f"mean and std need {channels} value(s) each, one a channel"
            raise ValueError(message)
        if not all(math.isfinite(x) and x > 0 for x in self.std):
            message = "std must be above 0"
            raise ValueError(message)
        return self


class Card(BaseModel):
    """A card as read; `trusted` where the operator gave it, not where the candidate brought it."""

    model_config = _FROZEN
    architecture: str | None = Field(default=None, min_length=1, max_length=300)
    classes: tuple[str, ...] | None = None
    num_classes: int | None = Field(default=None, ge=2, le=100_000)
    input: CardInput | None = None
    weights_key: str | None = None
    output: Literal["logits", "probabilities"] = "logits"
    trusted: bool = False
    path: str | None = None
    sha256: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Card:
        if self.classes is not None:
            if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
                message = "classes must be at least two different names"
                raise ValueError(message)
            if self.num_classes not in (None, len(self.classes)):
                message = f"num_classes is {self.num_classes}, classes has {len(self.classes)}"
                raise ValueError(message)
        return self

    @property
    def spec(self) -> InputSpec | None:
        """The input as a record, where the card names one."""
        if self.input is None:
            return None
        return InputSpec(size=self.input.size, mean=self.input.mean, std=self.input.std)


EMPTY = Card()


def read_card(path: Path, *, trusted: bool) -> Card:
    """Read a card; one that came with the candidate may not name code.

    Raises:
        CardError: malformed, as `FILE:LINE: what`, or untrusted and naming code.
    """
    document = read_yaml(path, CardError)
    card = validated(
        document, Card, CardError, trusted=trusted, path=str(path), sha256=document.sha256
    )
    if card.architecture and ".py:" in card.architecture and not trusted:
        message = (
            f"{path}:{document.line_of(('architecture',))}: this card came with the candidate and "
            f"names code ({card.architecture}), which is not run"
        )
        raise CardError(message, hint="Read that code, and give your own card with --card FILE.")
    return card


def own_file(card: Card) -> Path | None:
    """Name the operator's own file that builds the network; None where the card names none."""
    file = (card.architecture or "").rpartition(":")[0]
    if not file.endswith(".py"):
        return None
    return Path(card.path).resolve().parent / file if card.path else Path(file)


def beside(model: Path) -> Path | None:
    """Find the card next to `model`: `model.card.yaml` or `model.pt.card.yaml`."""
    for name in (f"{model.stem}.card.yaml", f"{model.name}.card.yaml"):
        # Not `is_file`, which raises where the name is longer than a file system allows.
        if os.path.isfile(path := model.with_name(name)):  # noqa: PTH113
            return path
    return None
