"""How far a value lies from the rest, without letting outliers set the scale."""

from __future__ import annotations

import torch
from scipy.special import ndtr, stdtrit
from torch import Tensor

_TO_SIGMA = 1.4826  # of the median absolute deviation, for normal data


def robust_z(values: Tensor) -> Tensor:
    """(n,) -> (n,) distances from the median in robust standard deviations.

    Values that are not finite are left out of the count and get 0. Where more than half of the
    values are equal, the mean absolute deviation takes the place of the median one; where all
    are equal, every distance is 0.
    """
    finite = values.isfinite()
    scores = torch.zeros_like(values)
    if int(finite.sum()) < 3:
        return scores
    kept = values[finite]
    distance = kept - kept.quantile(0.5)
    sigma = _TO_SIGMA * distance.abs().quantile(0.5)
    if sigma <= 1e-9 * kept.abs().max():
        sigma = distance.abs().mean() * 1.2533
    if sigma > 0:
        scores[finite] = distance / sigma
    return scores


def widened(threshold: float, count: int) -> float:
    """`threshold` for many values, as it must be among `count` to be passed by chance as rarely.

    The median absolute deviation of few values is itself uncertain. Simulated on normal data, its
    quotients follow Student's t with (count - 1) / 2 degrees of freedom from about 5 values on.
    """
    if count < 3:
        return float("inf")
    return float(-stdtrit((count - 1) / 2, ndtr(-threshold)))
