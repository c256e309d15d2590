"""Operators without weights, as functions of tensors: the list that the gate converts.

The first arguments are the operator's inputs in ONNX's order, keywords are its attributes by
ONNX's names: an attribute that is not named here is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gatekeeper.candidate.graph.shaping import (
    Ints,
    concat,
    expand,
    flatten,
    gather,
    pad,
    reshape,
    slice_,
    split,
    squeeze,
    transpose,
    unsqueeze,
)
from gatekeeper.candidate.graph.windows import average_pool, max_pool

_FLOAT32, _FLOAT16, _FLOAT64 = 1, 10, 11  # as ONNX numbers them
_DTYPES = {_FLOAT32: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool,
           _FLOAT16: torch.float16, _FLOAT64: torch.float64}  # fmt: skip
_MOST_FILLED = 1 << 22


def clip(x: Tensor, low: Any = None, high: Any = None, *, min: Any = None, max: Any = None) -> Any:
    """Keep between two numbers, given as inputs or, in old files, as attributes."""
    return torch.clamp(x, low if min is None else min, high if max is None else max)


def hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    """clip(alpha * x + beta, 0, 1)."""
    return torch.clamp(alpha * x + beta, 0, 1)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """Leak by a slope for each channel."""
    return torch.clamp_min(x, 0) + slope * torch.clamp_max(x, 0)


def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """Gaussian error linear unit."""
    return F.gelu(x, approximate=approximate)


def divide(a: Any, b: Any) -> Any:
    """Divide; whole numbers are cut towards zero."""
    whole = isinstance(a, Tensor) and not a.is_floating_point()
    return torch.div(a, b, rounding_mode="trunc") if whole else a / b


def extreme(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """Take the smallest or largest of several tensors."""

    def of(first: Tensor, *others: Tensor) -> Tensor:
        for other in others:
            first = function(first, torch.as_tensor(other, dtype=first.dtype, device=first.device))
        return first

    return of


def reduction(
    function: Callable[..., Tensor],
) -> Callable[..., Tensor]:
    """Reduce over axes that stand in an attribute or an input; none: over all."""

    def over(
        x: Tensor, given: Ints | None = None, *, axes: Ints | None = None, keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> Tensor:  # fmt: skip
        wanted = given if axes is None else axes
        if not wanted and noop_with_empty_axes:
            return x
        reduced: Tensor = function(x, dim=tuple(wanted or range(x.dim())), keepdim=bool(keepdims))
        return reduced

    return over


def global_pool(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Reduce over all places of an image."""
    return lambda x: function(x, dim=tuple(range(2, x.dim())), keepdim=True)


def elementwise(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Compute with tensors and with the one number of a shape."""

    def on(a: Any, b: Any) -> Any:
        a, b = (one[0] if isinstance(one, list) and len(one) == 1 else one for one in (a, b))
        return function(a, b)

    return on


def cast(x: Tensor, *, to: int, saturate: int = 1) -> Tensor:
    """Give another type; what flows through the network stays of floats."""
    return x.to(_DTYPES[to])


def constant_of_shape(shape: Ints, *, value: float = 0.0) -> Tensor:
    """Fill a tensor with one number."""
    count = 1
    for length in shape:
        count *= length
    if not 0 <= count <= _MOST_FILLED:
        message = f"a constant of {count} numbers"
        raise ValueError(message)
    return torch.full(list(shape), value)


def softmax(function: Callable[..., Tensor], old: bool) -> Callable[..., Tensor]:
    """Softmax along an axis; before opset 13 over that axis and all behind it."""

    def along(x: Tensor, *, axis: int = 1 if old else -1) -> Tensor:
        if old and axis % x.dim() != x.dim() - 1:
            message = "a softmax of old kind over several axes"
            raise ValueError(message)
        shares: Tensor = function(x, dim=axis)
        return shares

    return along


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Add": elementwise(lambda a, b: a + b), "Sub": elementwise(lambda a, b: a - b),
    "Mul": elementwise(lambda a, b: a * b), "Div": elementwise(divide),
    "Mod": elementwise(torch.remainder), "Pow": elementwise(lambda a, b: a**b),
    "MatMul": lambda a, b: a @ b, "Equal": lambda a, b: torch.eq(a, b), "Where": torch.where,
    "Min": extreme(torch.minimum), "Max": extreme(torch.maximum),
    "Neg": torch.neg, "Abs": torch.abs, "Sqrt": torch.sqrt, "Exp": torch.exp, "Log": torch.log,
    "Erf": torch.erf, "Tanh": torch.tanh, "Reciprocal": torch.reciprocal, "Sigmoid": torch.sigmoid,
    "Relu": torch.relu, "Softplus": F.softplus, "Mish": F.mish, "HardSwish": F.hardswish,
    "LeakyRelu": lambda x, *, alpha=0.01: F.leaky_relu(x, alpha),
    "Elu": lambda x, *, alpha=1.0: F.elu(x, alpha), "HardSigmoid": hard_sigmoid, "PRelu": prelu,
    "Gelu": gelu, "Clip": clip, "MaxPool": max_pool, "AveragePool": average_pool,
    "GlobalAveragePool": global_pool(torch.mean), "GlobalMaxPool": global_pool(torch.amax),
    "ReduceMean": reduction(torch.mean), "ReduceSum": reduction(torch.sum),
    "ReduceMax": reduction(torch.amax), "ReduceMin": reduction(torch.amin),
    "ReduceL2": reduction(torch.linalg.vector_norm),
    "Reshape": reshape, "Flatten": flatten, "Transpose": transpose, "Squeeze": squeeze,
    "Unsqueeze": unsqueeze, "Concat": concat, "Slice": slice_, "Gather": gather, "Split": split,
    "Expand": expand, "Pad": pad, "Cast": cast, "ConstantOfShape": constant_of_shape,
}  # fmt: skip
# Inputs of these places are numbers that say how, not tensors that flow.
PARAMETERS: dict[str, frozenset[int]] = {
    name: frozenset(places)
    for name, places in {
        "Reshape": (1,), "Expand": (1,), "Slice": (1, 2, 3, 4), "Unsqueeze": (1,),
        "Squeeze": (1,), "ReduceMean": (1,), "ReduceSum": (1,), "ReduceMax": (1,),
        "ReduceMin": (1,), "ReduceL2": (1,), "Pad": (1, 2, 3), "Clip": (1, 2), "Split": (1,),
        "ConstantOfShape": (0,),
    }.items()
}  # fmt: skip


def tells_nan(op: str, attributes: Mapping[str, Any]) -> bool:
    """Tell whether an operator on a flowing tensor makes numbers of whether it is NaN."""
    floats = (_FLOAT16, _FLOAT32, _FLOAT64)
    return op in ("Equal", "Where") or (op == "Cast" and attributes.get("to") not in floats)


SOFTMAX: dict[str, Callable[..., Tensor]] = {"Softmax": F.softmax, "LogSoftmax": F.log_softmax}
SAME = frozenset({"Identity", "Dropout"})
