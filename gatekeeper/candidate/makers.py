"""What allowed makers may be told: some turn one number into gigabytes, one calls another."""

from __future__ import annotations

import math

from gatekeeper.candidate.allowed import is_allowed
from gatekeeper.candidate.machine_values import Global

# How torch writes a tensor with attributes of its own, or of a class of its own.
FROM_TYPE = "torch._tensor._rebuild_from_type_v2"
_TYPES = frozenset({"torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"})
_ROOMS = ("builtins.", "__builtin__.")
_RANGES = frozenset(f"{room}{name}" for room in _ROOMS for name in ("range", "xrange"))
_SIZED = frozenset(f"{room}{name}" for room in _ROOMS for name in ("bytearray", "bytes"))


def asked_for(name: str, words: object) -> int:
    """Give how many bytes or items a call of `name` makes out of the numbers it is given."""
    if not isinstance(words, tuple):
        return 0
    numbers = [word for word in words if type(word) is int]
    if not numbers or len(numbers) != len(words):
        return 0
    if name in _RANGES:
        return _steps(numbers)
    if name in _SIZED or name == "torch.Tensor" or name.endswith("Storage"):
        return math.prod(max(0, number) for number in numbers)
    return 0


def _steps(numbers: list[int]) -> int:
    """Count what a range goes through, which may be more than `len` can tell."""
    start, stop, step = (0, numbers[0], 1) if len(numbers) == 1 else (*numbers, 1)[:3]
    return abs(stop - start) // max(1, abs(step))


def is_honest_type(words: object) -> bool:
    """Tell whether a tensor is rebuilt by one of torch's own, into a class of torch's own."""
    if not isinstance(words, tuple) or len(words) != 4:
        return False
    by, into = words[:2]
    known = isinstance(by, Global) and is_allowed(by.name)
    rebuilt = known and by.name.startswith("torch._utils._rebuild_")
    return rebuilt and isinstance(into, Global) and into.name in _TYPES
