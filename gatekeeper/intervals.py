"""95 % intervals for shares, and for differences on the same images."""

from __future__ import annotations

import math
import statistics

from scipy.special import stdtrit

from gatekeeper.records import Measure

_Z = 1.959963984540054  # two-sided 95 %


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson score interval of hits / n; (0, 1) without any sample (Wilson, 1927)."""
    if n == 0:
        return 0.0, 1.0
    share = hits / n
    spread = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    middle = share + _Z**2 / (2 * n)
    scale = 1 + _Z**2 / n
    low = 0.0 if hits == 0 else (middle - spread) / scale
    high = 1.0 if hits == n else (middle + spread) / scale
    return max(0.0, low), min(1.0, high)


def paired_difference(lost: int, gained: int, n: int) -> tuple[float, float, float]:
    """Difference of two paired shares, (lost - gained) / n, with its interval.

    `lost` images were right before and wrong after, `gained` the other way round. Agresti and
    Min's adjustment (Statistics in Medicine, 2005): half an image is added to each of the four
    cells, so that no discordant pair still leaves an interval of honest width.
    """
    if n == 0:
        return 0.0, -1.0, 1.0
    more_lost, more_gained, more_n = lost + 0.5, gained + 0.5, n + 2
    middle = (more_lost - more_gained) / more_n
    variance = (more_lost + more_gained - (more_lost - more_gained) ** 2 / more_n) / more_n**2
    spread = _Z * math.sqrt(variance)
    return (lost - gained) / n, max(-1.0, middle - spread), min(1.0, middle + spread)


def mean_difference(differences: list[float]) -> tuple[float, float, float]:
    """Mean of paired differences, each in [-1, 1], with its interval by Student's t.

    The least error is that of one whole image that changed: equal differences prove no certainty.
    """
    n = len(differences)
    if n <= 1:
        return sum(differences, start=0.0), -1.0, 1.0
    mean = statistics.fmean(differences)
    error = max(statistics.stdev(differences) / math.sqrt(n), 1 / n)
    spread = float(stdtrit(n - 1, 0.975)) * error
    return mean, max(-1.0, mean - spread), min(1.0, mean + spread)


def share(name: str, won: int, n: int, *, note: str = "", partial: bool = False) -> Measure:
    """Measure won / n with its Wilson interval; no value without any sample."""
    low, high = wilson(won, n)
    value = won / n if n else None
    return Measure(name=name, value=value, low=low, high=high, n=n, note=note, partial=partial)
