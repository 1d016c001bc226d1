"""The probability of improvement: counted by hand, scipy's U, and coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from reports.stats.improvement import improvement_interval, probability_of_improvement


def test_counts_wins_and_half_the_ties() -> None:
    # Task one: 1, 2, 3 against 2, 2: 0 + 1 + 2 of 6 (two ties count half). Task two: always better.
    ours = np.array([[1.0, 9.0], [2.0, 9.0], [3.0, 9.0]])
    theirs = np.array([[2.0, 1.0], [2.0, 1.0], [np.nan, 1.0]])
    assert probability_of_improvement(ours, theirs) == pytest.approx((3 / 6 + 1) / 2)
    assert probability_of_improvement(theirs, ours) == pytest.approx((3 / 6 + 0) / 2)
    assert probability_of_improvement(ours, [[np.nan, 1.0]]) is None


def test_is_mann_whitneys_u() -> None:
    generator = np.random.default_rng(0)
    ours, theirs = generator.normal(size=(6, 1)), generator.normal(size=(5, 1))
    u = scipy_stats.mannwhitneyu(ours[:, 0], theirs[:, 0]).statistic
    assert probability_of_improvement(ours, theirs) == pytest.approx(u / 30)


def test_winning_every_time_is_not_certainty() -> None:
    ours, theirs = np.ones((5, 4)), np.zeros((5, 4))
    interval = improvement_interval(ours, theirs)
    assert interval is not None
    assert 0.7 < interval.low < 0.99
    assert interval.high == 1
    assert improvement_interval(theirs, ours) == pytest.approx((1 - interval.high, 1 - interval.low), abs=1e-6)
    assert improvement_interval(ours[:1], theirs[:1]) is None


@pytest.mark.parametrize("steps", [[0, 0, 0, 0], [0, 0.5, 1, 1.5], [1.5, 1.5, 1.5, 1.5], [3, 3, 3, 3]])
def test_interval_covers_at_5_seeds_by_4_tasks(steps: list[float]) -> None:
    # Setting: normal scores of equal spread, ours higher by `steps` spreads; 800 experiments.
    generator = np.random.default_rng(11)
    truth = scipy_stats.norm.cdf(np.array(steps) / np.sqrt(2)).mean()
    hits = 0
    for _ in range(800):
        interval = improvement_interval(generator.normal(size=(5, 4)) + steps, generator.normal(size=(5, 4)))
        assert interval is not None
        hits += interval.low <= truth <= interval.high
    assert hits / 800 >= 0.93
