"""The width of the good range: by hand, censored at the edge, and against the true width of a parabola."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from reports.stats.good_range import clopper_pearson, good_range


def test_a_second_hill_does_not_count() -> None:
    found = good_range([1e-5, 1e-4, 1e-3, 1e-2, 1e-1], [0.8, 0.5, 0.8, 0.5, 0.8], margin=0.15)
    assert found.good == 3, "ties: the best is the one of the smallest rate"
    assert found.width == pytest.approx(0.5)
    assert (found.open_low, found.open_high, found.at_least) == (True, False, True)
    assert (found.least, found.most) == (pytest.approx(0), np.inf)


def test_one_trial_and_bad_input() -> None:
    alone = good_range([1e-3], [0.5])
    assert (alone.width, alone.least, alone.most, alone.at_least) == (0, 0, np.inf, True)
    for rates, scores in (([1e-3, 1e-2], [0.5]), ([0], [0.5]), ([1e-3], [np.nan]), ([], [])):
        with pytest.raises(ValueError, match="rate"):
            good_range(rates, scores)


def test_the_width_of_a_parabola() -> None:
    """Falls by .05 in a decade: .01 below the top it is 2 sqrt(.2) = .894 decades wide."""
    generator = np.random.default_rng(0)
    found = []
    for _ in range(200):
        places = generator.uniform(-4, -1.5, size=40)
        found.append(good_range(10**places, 0.8 - 0.05 * (places + 2.75) ** 2))
    assert np.mean([each.width for each in found]) == pytest.approx(0.894, abs=0.02)
    assert all(each.least <= each.width <= each.most for each in found)
    shares = [each.share.low <= 0.894 / 2.5 <= each.share.high for each in found]
    assert np.mean(shares) >= 0.9


def test_clopper_pearson_is_scipys() -> None:
    for hits in (0, 3, 12):
        theirs = scipy_stats.binomtest(hits, 12).proportion_ci(method="exact")
        assert clopper_pearson(hits, 12) == pytest.approx((theirs.low, theirs.high))
