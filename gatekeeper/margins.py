"""How far can a network's answer be pushed towards each class, whatever the input?

For each class t: maximise over inputs x in [0, 1] the logit of t minus the largest other logit,
from several random starts. A backdoor's target class can be pushed far above all others, and no
image is needed to see it (MM-BD: Wang et al., IEEE S&P 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gatekeeper.allocation import hold_freed_memory
from gatekeeper.mask_search import LEARNT_AT_ONCE
from gatekeeper.model import Model
from gatekeeper.precision import autocast
from gatekeeper.triggers import still

_LEARNING_RATE = 0.1  # of pixel values in [0, 1]


def maximum_margins(model: Model, *, seed: int, starts: int = 4, steps: int = 100) -> Tensor:
    """(classes,) float32 on the CPU: the largest margin of each class, in logits; NaN where broken.

    It is the margin after the last step, the largest over the starts. A network that gives
    probabilities is seen before its softmax where that can be found, else through the logarithm of
    its answers, which ends at the smallest number it can tell.

    Args:
        model: the network; its weights and mode are left alone.
        seed: of the starts, uniform noise.
        starts: inputs for each class.
        steps: of Adam, each followed by a projection into [0, 1].

    Raises:
        StepError: the GPU has no room for it.
    """
    hold_freed_memory()
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(len(model.classes)).repeat_interleave(starts)
    values = model.input.size[0] * model.input.size[1] * model.input.size[2]
    margins = []
    with still(model) as view:
        look = _before_softmax(view) if model.output == "probabilities" else view
        for wanted in targets.split(max(1, LEARNT_AT_ONCE // values)):
            noise = torch.rand(len(wanted), *model.input.size, generator=generator)
            margins.append(_pushed(look, noise.to(model.device), wanted, steps).cpu())
    found = torch.cat(margins).view(-1, starts)
    return torch.where(found.isfinite().all(1), found.amax(1), torch.nan)


def has_logits(model: Model) -> bool:
    """Tell whether the network's logits can be seen, be it before a softmax of its own."""
    with still(model) as view:
        few = torch.zeros(2, *model.input.size, device=model.device)
        few[1] = 1
        with torch.no_grad(), _Softmax() as watch:
            answer = view(few)
    if model.output == "logits":
        return True
    return watch.given is not None and torch.allclose(
        watch.given.softmax(1), answer.exp(), atol=1e-4
    )


class _Softmax(TorchFunctionMode):
    """Remembers what the last softmax over classes was given."""

    given: Tensor | None = None

    def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Let everything pass."""
        result = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") == "softmax" and result.dim() == 2:
            self.given = args[0]
        return result


def _before_softmax(view: nn.Module) -> Callable[[Tensor], Tensor]:
    """Look at what the network's own last softmax is given; at its answer where there is none."""

    def look(inputs: Tensor) -> Tensor:
        with _Softmax() as watch:
            answer: Tensor = view(inputs)
        return answer if watch.given is None else watch.given

    return look


def _pushed(view: Callable[[Tensor], Tensor], inputs: Tensor, wanted: Tensor, steps: int) -> Tensor:
    """(N,) margins of the classes `wanted` (N,) after the search from `inputs` (N, C, H, W)."""
    wanted = wanted.to(inputs.device)
    inputs = inputs.contiguous(memory_format=torch.channels_last).requires_grad_()
    optimiser = torch.optim.Adam([inputs], lr=_LEARNING_RATE)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = _LEARNING_RATE * (1 - 0.9 * step / steps)
        optimiser.zero_grad()
        with autocast(inputs.device, "auto"):
            answer = view(inputs)
        (-_margin(answer.float(), wanted)).sum().backward()
        optimiser.step()
        with torch.no_grad():
            inputs.clamp_(0, 1)
    with torch.no_grad():
        return _margin(view(inputs).float(), wanted)


def _margin(answer: Tensor, wanted: Tensor) -> Tensor:
    """(N, classes), (N,) -> (N,): the logit wanted, minus the largest of the others."""
    own = wanted[:, None]
    others = answer.scatter(1, own, -torch.inf)
    return answer.gather(1, own)[:, 0] - others.amax(1)
