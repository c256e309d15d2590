"""The sharpness-aware step: climb to the worst nearby weights, come back, descend.

Sharpness-aware minimisation (Foret et al., ICLR 2021); adaptive as in FT-SAM (Zhu et al.,
ICCV 2023, Eq. 4): the neighbourhood is an ellipsoid, T_w = diag(|w|), measured by ONE norm.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

_TINY = 1e-12


class SharpnessAware:
    """Moves parameters to w + eps and back; all arithmetic runs over all tensors at once."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, rho: float, adaptive: bool = True
    ) -> None:
        """Hold the radius `rho` >= 0 of the neighbourhood; plain SAM where not `adaptive`."""
        self.parameters = [weight for weight in parameters if weight.requires_grad]
        self.rho = rho
        self.adaptive = adaptive
        self._before: list[Tensor] = []
        self._moved: list[nn.Parameter] = []

    @torch.no_grad()
    def climb(self) -> None:
        """Go from w to w + eps, eps = rho * w^2 * g / || |w| * g ||_2, by the gradients at hand."""
        self._moved = [weight for weight in self.parameters if weight.grad is not None]
        gradients = [weight.grad for weight in self._moved if weight.grad is not None]
        if not gradients:
            return
        weights: list[Tensor] = list(self._moved)
        self._before = [weight.clone() for weight in weights]
        step = torch._foreach_mul(weights, gradients) if self.adaptive else gradients
        norms = torch._foreach_norm(step)
        scale = self.rho / (torch.stack(list(norms)).norm() + _TINY)
        if self.adaptive:
            torch._foreach_mul_(step, weights)
            torch._foreach_mul_(step, scale)
        else:
            step = torch._foreach_mul(step, scale)
        torch._foreach_add_(weights, step)

    @torch.no_grad()
    def come_back(self) -> None:
        """Go back to w exactly; the gradients at w + eps stay for the optimiser."""
        if self._before:
            torch._foreach_copy_(list(self._moved), self._before)
        self._before = []
