"""A checked graph and its tensors become a torch network: layers and listed functions, no code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Held:
    """Stands for an input of an operation: one of its own tensors, or "" for one that flows."""

    name: str


FLOWS = Held("")


class Operation(nn.Module):
    """One function of the list, with all that it is given each time."""

    def __init__(self, function: Any, given: list[Any], words: dict[str, Any]) -> None:
        """Keep tensors of `given` as buffers; `FLOWS` marks what each call brings."""
        super().__init__()
        self.function = function
        self.words = words
        self.given: list[Any] = []
        for place, one in enumerate(given):
            if isinstance(one, Tensor):
                self.register_buffer(f"constant_{place}", one.detach().clone().contiguous())
                one = Held(f"constant_{place}")
            self.given.append(one)

    def forward(self, *flowing: Any) -> Any:
        """Call the function."""
        flow = iter(flowing)
        inputs = [
            (getattr(self, one.name) if one.name else next(flow)) if isinstance(one, Held) else one
            for one in self.given
        ]
        return self.function(*inputs, **self.words)


@dataclass(frozen=True)
class Step:
    """Which module runs on which values; values are numbered, and 0 is the image."""

    module: str
    takes: tuple[int, ...]
    gives: int
    frees: tuple[int, ...] = ()


class GraphNetwork(nn.Module):
    """Runs its modules in the order of a graph."""

    def __init__(self) -> None:
        """Begin empty: whoever builds adds modules, then sets `plan` and `answer`."""
        super().__init__()
        self.plan: tuple[Step, ...] = ()
        self.answer = 0

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, classes)."""
        values: dict[int, Any] = {0: x}
        for step in self.plan:
            module = getattr(self, step.module)
            values[step.gives] = module(*[values[slot] for slot in step.takes])
            for slot in step.frees:
                del values[slot]
        answer: Tensor = values[self.answer]
        return answer


def planned(steps: list[Step], answer: int) -> tuple[Step, ...]:
    """Let each value go after the last step that takes it."""
    last: dict[int, int] = {}
    for number, step in enumerate(steps):
        last.update(dict.fromkeys((*step.takes, step.gives), number))
    frees: dict[int, list[int]] = {}
    for slot, number in last.items():
        if slot != answer:
            frees.setdefault(number, []).append(slot)
    return tuple(
        Step(step.module, step.takes, step.gives, tuple(frees.get(number, ())))
        for number, step in enumerate(steps)
    )
