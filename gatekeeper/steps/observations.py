"""Keeps what was observed of a network in the run directory, as safetensors and never as pickle."""

from __future__ import annotations

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from gatekeeper.rundir import RunDirectory
from gatekeeper.triggers import Trigger
from gatekeeper.verification import Observation


def save_observation(observation: Observation, room: RunDirectory, name: str) -> None:
    """Write predictions and triggers into the run's file `name`."""
    triggers = (*observation.triggers, *observation.special)
    facts = [
        [t.target, t.area, t.success, float(t.reached), -1 if t.source is None else t.source]
        for t in triggers
    ]
    tensors = {
        "predictions": observation.predictions.contiguous(),
        "masks": _stacked([t.mask for t in triggers]),  # (K, H, W)
        "patterns": _stacked([t.pattern for t in triggers]),  # (K, C, H, W)
        "facts": torch.tensor(facts, dtype=torch.float64),  # (K, 5)
        "special": torch.tensor(len(observation.special)),  # how many of them, the last
    }
    with room.writing(name) as partial:
        save_file(tensors, partial)


def _stacked(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts) if parts else torch.empty(0)


def load_observation(room: RunDirectory, name: str) -> Observation:
    """Read back what `save_observation` wrote."""
    tensors = load_file(room.file(name))
    triggers = tuple(
        Trigger(
            target=int(target),
            mask=mask,
            pattern=pattern,
            area=area,
            success=success,
            reached=bool(reached),
            source=None if source < 0 else int(source),
        )
        for (target, area, success, reached, source), mask, pattern in zip(
            tensors["facts"].tolist(), tensors["masks"], tensors["patterns"], strict=True
        )
    )
    usual = len(triggers) - int(tensors["special"])
    return Observation(
        predictions=tensors["predictions"], triggers=triggers[:usual], special=triggers[usual:]
    )
