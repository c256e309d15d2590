"""What a graph would cost to run, told without running it: sizes alone flow through it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

_MOST_ELEMENTS = 1 << 27  # of one tensor, for two images
_MOST_IN_ALL = 1 << 31
_MOST_PRODUCTS = 1 << 39  # a large vision transformer, ViT-L/16, takes a fifth


class TooCostlyError(Exception):
    """The graph asks for more memory or work than any classifier."""


class Cost(TorchDispatchMode):
    """Adds up what modules would make and multiply, for as many images as are shown."""

    def __init__(self) -> None:
        """Begin at nothing."""
        super().__init__()  # type: ignore[no-untyped-call]
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
        answer = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in pytree.tree_leaves(answer) if isinstance(leaf, Tensor)]
        most = max(sizes, default=0)
        self.elements += sum(sizes)
        self.products += most * _each(str(func), args)
        if most > _MOST_ELEMENTS or self.elements > _MOST_IN_ALL:
            message = f"it makes tensors of {max(most, self.elements):,} numbers"
            raise TooCostlyError(message)
        if self.products > _MOST_PRODUCTS:
            message = f"it needs {self.products:,} multiplications for two images"
            raise TooCostlyError(message)
        return answer


def _each(name: str, args: Sequence[Any]) -> int:
    """Multiplications for each number of the answer."""
    if "convolution" in name:
        return max(1, int(args[1][0].numel()))
    if "mm" in name:
        return int([a for a in args if isinstance(a, Tensor)][-1].shape[-2])
    if "pool" in name:
        return math.prod(args[1])
    return 1
