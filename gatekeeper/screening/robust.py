"""How far a value lies from the rest, without letting outliers set the scale."""

from __future__ import annotations

import torch
from torch import Tensor

_TO_SIGMA = 1.4826  # of the median absolute deviation, for normal data


def robust_z(values: Tensor) -> Tensor:
    """(n,) -> (n,) distances from the median in robust standard deviations.

    Where more than half of the values are equal, the mean absolute deviation takes the place of
    the median one; where all are equal, every distance is 0.
    """
    if len(values) < 3:
        return torch.zeros_like(values)
    distance = values - values.median()
    sigma = _TO_SIGMA * distance.abs().median()
    if sigma <= 1e-12 * values.abs().max():
        sigma = distance.abs().mean() * 1.2533
    return distance / sigma if sigma > 0 else torch.zeros_like(values)
