"""The intervals keep what they promise: 95 % of the time, the truth is inside."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from gatekeeper.intervals import mean_difference, paired_difference, wilson

counts = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@settings(derandomize=True, deadline=None)
@given(counts)
def test_wilson_is_scipys(count: tuple[int, int]) -> None:
    hits, n = count
    theirs = binomtest(hits, n).proportion_ci(confidence_level=0.95, method="wilson")
    assert wilson(hits, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@settings(derandomize=True, deadline=None)
@given(counts)
def test_wilson_lies_close_to_clopper_and_pearson_and_holds_the_share(
    count: tuple[int, int],
) -> None:
    hits, n = count
    low, high = wilson(hits, n)
    exact = binomtest(hits, n).proportion_ci(confidence_level=0.95, method="exact")
    assert 0 <= low <= hits / n <= high <= 1
    assert abs(low - exact.low) < 1.2 / n**0.5
    assert abs(high - exact.high) < 1.2 / n**0.5


def test_no_sample_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert paired_difference(0, 0, 0) == (0.0, -1.0, 1.0)


@pytest.mark.parametrize("n", [50, 500])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.8, 0.99])
def test_wilson_covers_the_truth(n: int, share: float) -> None:
    """Exactly: the probability of all outcomes whose interval holds the truth."""
    from scipy.stats import binom

    inside = [low <= share <= high for low, high in (wilson(hits, n) for hits in range(n + 1))]
    covered = float(binom.pmf(np.arange(n + 1), n, share)[inside].sum())
    assert covered >= 0.91  # it is known to dip near 0 and 1


@pytest.mark.parametrize("n", [100, 538, 2000])
@pytest.mark.parametrize(
    ("lose", "gain"), [(0.0, 0.0), (0.005, 0.0), (0.02, 0.01), (0.1, 0.1), (0.0, 0.3)]
)
def test_the_paired_interval_covers_the_truth(n: int, lose: float, gain: float) -> None:
    chance = np.random.default_rng(0)
    drawn = chance.multinomial(n, [lose, gain, 1 - lose - gain], size=2000)
    intervals = [paired_difference(int(lost), int(gained), n)[1:] for lost, gained, _ in drawn]
    covered = sum(low <= lose - gain <= high for low, high in intervals) / len(intervals)
    assert covered >= 0.92  # few discordant pairs make it coarse


@settings(derandomize=True, deadline=None)
@given(
    st.integers(1, 3000).flatmap(
        lambda n: st.tuples(st.integers(0, n), st.just(n)).flatmap(
            lambda pair: st.tuples(
                st.just(pair[0]), st.integers(0, pair[1] - pair[0]), st.just(pair[1])
            )
        )
    )
)
def test_the_paired_interval_is_sane(cells: tuple[int, int, int]) -> None:
    lost, gained, n = cells
    value, low, high = paired_difference(lost, gained, n)
    assert value == pytest.approx((lost - gained) / n)
    assert -1 <= low < high <= 1
    mirrored = paired_difference(gained, lost, n)
    assert mirrored == pytest.approx((-value, -high, -low))


def test_no_change_in_many_images_is_a_narrow_interval_and_in_few_a_wide_one() -> None:
    assert paired_difference(0, 0, 2000)[2] < 0.002
    assert paired_difference(0, 0, 50)[2] > 0.02


@settings(derandomize=True, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=300))
def test_a_mean_difference_lies_in_its_interval_and_is_never_certain(losses: list[float]) -> None:
    mean, low, high = mean_difference(losses)
    assert -1 <= low <= mean <= high <= 1
    assert high - low >= min(1.9 / len(losses), 1 - abs(mean))


def test_a_mean_difference_covers_the_truth() -> None:
    chance = np.random.default_rng(0)
    truth, covered = 0.05, 0
    for _ in range(1000):
        lost = chance.binomial(6, truth, size=200) / 6 - chance.binomial(6, 0.02, size=200) / 6
        _, low, high = mean_difference(lost.tolist())
        covered += low <= truth - 0.02 <= high
    assert 930 <= covered <= 970


def test_one_image_tells_no_difference() -> None:
    assert mean_difference([]) == (0.0, -1.0, 1.0)
    assert mean_difference([0.5]) == (0.5, -1.0, 1.0)
