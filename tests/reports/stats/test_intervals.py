"""Statistics of one method: hand-computed figures, scipy's, and coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from reports.stats import intervals as stats

# Darwin's fifteen pairs of maize (Fisher, The Design of Experiments, 1935): heights in eighths of an inch.
MAIZE = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48], dtype=float)[:, None]
SCORES = np.array([[80.0, 50.0], [82.0, 54.0], [84.0, np.nan]])


def test_mean_weighs_every_task_the_same() -> None:
    assert stats.mean(SCORES) == pytest.approx((82 + 52) / 2)
    assert stats.mean([[1.0, None], [3.0, None]]) is None


def test_standard_deviation_is_that_of_the_seeds_averages() -> None:
    # Complete seeds average 65 and 68: 3 / sqrt(2).
    assert stats.standard_deviation(SCORES) == pytest.approx(3 / np.sqrt(2))
    assert stats.standard_deviation(SCORES[:, :1]) == pytest.approx(2.0)
    assert stats.standard_deviation(SCORES[:1]) is None


def test_one_seed_has_no_interval() -> None:
    for scores in (np.ones((1, 4)), np.array([[1.0, 2.0], [2.0, np.nan]])):
        assert stats.standard_error(scores) is None
        assert stats.mean_interval(scores) is None


def test_interval_of_one_task_is_students() -> None:
    interval = stats.mean_interval(MAIZE)
    assert interval is not None
    assert interval == pytest.approx((0.03, 41.84), abs=0.01)  # Fisher's example
    reference = scipy_stats.ttest_1samp(MAIZE[:, 0], 0).confidence_interval(0.95)
    assert interval == pytest.approx((reference.low, reference.high))


def test_interval_of_two_tasks_is_welchs() -> None:
    generator = np.random.default_rng(1)
    ours, theirs = generator.normal(size=6), generator.normal(size=4) * 5
    scores = np.full((6, 2), np.nan)
    scores[:, 0], scores[:4, 1] = ours, -theirs
    reference = scipy_stats.ttest_ind(ours, theirs, equal_var=False)
    interval, error = stats.mean_interval(scores), stats.standard_error(scores)
    assert interval is not None
    assert error is not None
    assert error[1] == pytest.approx(reference.df)
    low, high = reference.confidence_interval(0.95)
    assert interval == pytest.approx((low / 2, high / 2))


@given(st.floats(-100, 100), st.floats(0.01, 100), st.integers(0, 2**32 - 1))
def test_interval_moves_and_stretches_with_the_scores(shift: float, scale: float, seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=(4, 3))
    plain, moved = stats.mean_interval(scores), stats.mean_interval(shift + scale * scores)
    assert plain is not None
    assert moved is not None
    assert moved == pytest.approx([shift + scale * end for end in plain], rel=1e-6, abs=1e-6)


def test_no_spread_gives_no_interval() -> None:
    assert stats.mean_interval(np.full((3, 2), 0.1)) is None
    assert stats.mean_interval([[0.5, 0.1], [0.5, 0.2]]) is not None, "one task with a spread has one"


def test_average_rank_shares_ties_and_leaves_out_unfinished_cells() -> None:
    scores = np.array([[[3.0, 1.0]], [[3.0, 2.0]], [[1.0, 3.0]]])  # 3 methods, 1 seed, 2 tasks
    assert stats.average_rank(scores) == pytest.approx([(1.5 + 3) / 2, (1.5 + 2) / 2, (3 + 1) / 2])
    scores[0, 0, 1] = np.nan
    assert stats.average_rank(scores) == pytest.approx([1.5, 1.5, 3])
    assert stats.average_rank(np.full((2, 1, 1), np.nan)) is None


@pytest.mark.parametrize("scores", [np.ones(3), np.ones((2, 3, 4)), np.ones((0, 2)), [[np.inf]]])
def test_other_shapes_and_infinite_scores_are_refused(scores: object) -> None:
    with pytest.raises(ValueError, match="scores h"):
        stats.mean(scores)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spreads", "tail"),
    [
        ([1, 1, 1, 1], "normal"),
        ([0.5, 1, 2, 6], "normal"),
        ([0.1, 0.1, 0.1, 10], "normal"),
        ([1, 2, 1, 2], "beta"),
    ],
)
def test_mean_interval_covers_95_percent_at_5_seeds_by_4_tasks(spreads: list[float], tail: str) -> None:
    # Setting: independent runs, tasks with means of their own, spreads as given; 3,000 experiments (the
    # simulation's own error is 0.4%).
    generator = np.random.default_rng(6)
    means = np.array([80, 82, 50, 17.0])
    hits = 0
    for _ in range(3_000):
        noise = generator.normal(size=(5, 4)) if tail == "normal" else generator.beta(8, 2, size=(5, 4)) - 0.8
        interval = stats.mean_interval(means + noise * spreads)
        assert interval is not None
        hits += interval.low <= means.mean() <= interval.high
    assert 0.93 <= hits / 3_000 <= 0.97
