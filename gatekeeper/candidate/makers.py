"""What allowed makers may be told: some turn one number into gigabytes, one calls another."""

from __future__ import annotations

import math
from typing import cast

from gatekeeper.candidate.allowed import is_allowed
from gatekeeper.candidate.machine_values import Global, Made

# How torch writes a tensor with attributes of its own, or of a class of its own.
FROM_TYPE = "torch._tensor._rebuild_from_type_v2"
_TYPES = frozenset({"torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"})
_ROOMS = ("builtins.", "__builtin__.")
_RANGES = frozenset(f"{room}{name}" for room in _ROOMS for name in ("range", "xrange"))
_SIZED = frozenset(f"{room}{name}" for room in _ROOMS for name in ("bytearray", "bytes"))


def asked_for(name: str, words: object) -> int:
    """Give how many bytes or items a call of `name` makes out of what it is given."""
    if not isinstance(words, tuple):
        return 0
    if through := max((word.steps for word in words if isinstance(word, Made)), default=0):
        return through
    numbers = _numbers(words)
    if name in _SIZED or name == "torch.Tensor" or name.endswith("Storage"):
        return math.prod(max(0, number) for number in numbers) if numbers else 0
    return 0


def steps_of(name: str, words: object) -> int:
    """Count what a range goes through, which may be more than `len` can tell; 0 for the rest."""
    numbers = _numbers(words) if name in _RANGES else []
    if not 1 <= len(numbers) <= 3:
        return 0
    start, stop, step = (0, numbers[0], 1) if len(numbers) == 1 else (*numbers, 1)[:3]
    return abs(stop - start) // max(1, abs(step))


def _numbers(words: object) -> list[int]:
    """Give what it is called with, where that is whole numbers alone."""
    alone = isinstance(words, tuple) and all(type(word) is int for word in words)
    return list(cast(tuple[int, ...], words)) if alone else []


def is_honest_type(words: object) -> bool:
    """Tell whether a tensor is rebuilt by one of torch's own, into a class of torch's own."""
    if not isinstance(words, tuple) or len(words) != 4:
        return False
    by, into = words[:2]
    known = isinstance(by, Global) and is_allowed(by.name)
    rebuilt = known and by.name.startswith("torch._utils._rebuild_")
    return rebuilt and isinstance(into, Global) and into.name in _TYPES
