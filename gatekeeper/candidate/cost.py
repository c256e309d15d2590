"""What a network would cost to run, told without running it: sizes alone flow through it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

_MOST_ELEMENTS = 1 << 26  # of one tensor, for two images: a network holds a few at a time
_MOST_IN_ALL = 1 << 31
_MOST_PRODUCTS = 1 << 39  # a large vision transformer, ViT-L/16, takes a fifth
# Matrix products are that much faster than what goes number by number.
_WINDOW, _NARROW = 64, 16
# These show a tensor another way, and make none.
_VIEWS = frozenset(f"aten.{name}" for name in (
    "t", "transpose", "permute", "view", "_unsafe_view", "reshape", "detach", "alias", "select",
    "slice", "split", "split_with_sizes", "squeeze", "unsqueeze", "flatten",
))  # fmt: skip
# Their answer is as their tensors are where those are alike: torch works that out in Python,
# which takes a millisecond each.
_POINTWISE = frozenset(f"aten.{name}" for name in (
    "relu", "relu_", "sigmoid", "tanh", "exp", "neg", "abs", "erf", "sqrt", "silu", "silu_",
    "hardswish", "hardswish_", "hardsigmoid", "gelu", "add", "add_", "sub", "mul", "div",
    "maximum", "minimum", "clamp", "hardtanh", "hardtanh_",
))  # fmt: skip


class TooCostlyError(Exception):
    """The network asks for more memory or work than any classifier."""


class Cost(TorchDispatchMode):
    """Adds up what modules would make and multiply, for as many images as are shown."""

    def __init__(
        self, *, most_elements: int = _MOST_IN_ALL, most_products: int = _MOST_PRODUCTS
    ) -> None:
        """Begin at nothing."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.most_elements = most_elements
        self.most_products = most_products
        self.elements = 0
        self.products = 0

    def shown(self, module: nn.Module, inputs: Sequence[Any]) -> Any:
        """Give the shape of what `module` would answer: a tensor without memory, or numbers.

        Raises:
            TooCostlyError: with what is too much.
        """
        held = (*module.named_parameters(), *module.named_buffers())
        state = {name: tensor.to("meta") for name, tensor in held}
        with torch.no_grad(), self:
            return functional_call(module, state, tuple(inputs))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one primitive on sizes, and count it."""
        name = str(func).rpartition(".")[0]
        answer = _alike(name, args)
        if answer is None:
            answer = func(*args, **(kwargs or {}))
        if name in _VIEWS:
            return answer
        sizes = [leaf.numel() for leaf in pytree.tree_leaves(answer) if isinstance(leaf, Tensor)]
        most = max(sizes, default=0)
        self.elements += sum(sizes)
        self.products += most * _each(name, args)
        if most > _MOST_ELEMENTS or self.elements > self.most_elements:
            message = f"it makes tensors of {max(most, self.elements):,} numbers, too many"
            raise TooCostlyError(message)
        if self.products > self.most_products:
            message = f"it needs {self.products:,} multiplications for two images, too many"
            raise TooCostlyError(message)
        return answer


def _alike(name: str, args: Sequence[Any]) -> Tensor | None:
    """Give the answer where it is plain from its name."""
    held = [one for one in args if isinstance(one, Tensor)]
    if name not in _POINTWISE or any(not isinstance(one, (Tensor, int, float)) for one in args):
        return None
    kinds = {(one.shape, one.dtype) for one in held}
    plain = len(kinds) == 1 and held[0].dtype == torch.float32 and held[0].device.type == "meta"
    return held[0] if plain else None


def _each(name: str, args: Sequence[Any]) -> int:
    """Multiplications for each number of the answer, as long as they would take."""
    if "convolution" in name:
        kernels: Tensor = args[1]  # (C_out, C_in / groups, ...)
        groups = max(1, int(args[0].shape[1]) // max(1, int(kernels.shape[1])))
        narrow = min(int(kernels.shape[1]), int(kernels.shape[0]) // groups)
        each: int = max(1, kernels[0].numel()) * max(1, _NARROW // max(1, narrow))
        return each
    if "mm" in name:
        return int([a for a in args if isinstance(a, Tensor)][-1].shape[-2])
    if "adaptive" in name:
        sizes = zip(args[0].shape[::-1], args[1][::-1], strict=False)
        return _WINDOW * math.prod(int(size) // max(1, int(out)) + 2 for size, out in sizes)
    if "pool" in name:
        return _WINDOW * int(math.prod(args[1]))
    return 1
