"""One method against another: published examples, scipy's and statsmodels' figures, false alarms, power."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from reports.stats import comparisons
from reports.stats import intervals as stats
from tests.reports.stats.test_intervals import MAIZE

SPREADS = np.array([0.5, 1, 2, 6])


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_differences_pair_seed_and_task() -> None:
    gaps = comparisons.paired_differences([[3.0, 5.0], [4.0, None]], [[1.0, 1.0], [None, 1.0]])
    np.testing.assert_array_equal(gaps, [[2, 4], [np.nan, np.nan]])
    with pytest.raises(ValueError, match=r"\(2, 1\) and the baseline's \(3, 1\) differ"):
        comparisons.paired_differences(np.ones((2, 1)), np.ones((3, 1)))


def test_sign_flips_give_fishers_maize_example() -> None:
    # Fisher (1935) counted 1,726 of the 32,768 patterns as extreme as Darwin's.
    assert comparisons.sign_flip_test(MAIZE, generator=generator()) == pytest.approx(1726 / 2**15)


def test_sign_flips_agree_with_scipy() -> None:
    for seed in range(5):
        gaps = generator(seed).normal(size=(3, 4)) + 0.3
        reference = scipy_stats.permutation_test(
            (gaps.ravel(),), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
        ).pvalue
        assert comparisons.sign_flip_test(gaps, generator=generator()) == pytest.approx(reference)


def test_sign_flips_weigh_tasks_not_runs() -> None:
    # Means 1 and -0.5: the statistic is 0.25. Terms +-.5, +-.5, +-.25, +-.25 after weighting by 1 / runs:
    gaps = np.array([[1.0, -0.5], [1.0, -0.5]])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 4)).reshape(4, -1).T
    sums = np.abs(signs @ [0.5, 0.5, 0.25, 0.25])
    expected = (sums >= 0.5 - 1e-9).mean()
    assert comparisons.sign_flip_test(gaps, generator=generator()) == pytest.approx(expected)


def test_random_flips_approach_the_exact_count() -> None:
    gaps = generator(3).normal(size=(10, 4)) + 0.25  # 40 pairs
    random = comparisons.sign_flip_test(gaps, generator=generator(), flips=50_000)
    # 36 of them can be counted; a t test stands in for the exact value of all 40.
    assert random == pytest.approx(scipy_stats.ttest_1samp(gaps.ravel(), 0).pvalue, abs=0.01)
    assert comparisons.sign_flip_test(gaps + 9, generator=generator(), flips=999) == pytest.approx(1 / 1000)


def test_no_difference_is_no_evidence() -> None:
    assert comparisons.sign_flip_test(np.zeros((3, 2)), generator=generator()) == 1.0


def test_holm_by_hand() -> None:
    # Sorted .005, .01, .03, .04 times 4, 3, 2, 1, never below the one before.
    assert comparisons.holm([0.01, 0.04, None, 0.03, 0.005]) == [
        pytest.approx(0.03),
        pytest.approx(0.06),
        None,
        pytest.approx(0.06),
        pytest.approx(0.02),
    ]
    assert comparisons.holm([None]) == [None]


@settings(max_examples=12, deadline=None)  # statsmodels collects garbage at each call
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_statsmodels(p_values: list[float]) -> None:
    assert comparisons.holm(p_values) == pytest.approx(list(multipletests(p_values, method="holm")[1]))


def test_one_seed_has_no_test_and_nothing_to_bold() -> None:
    scores = {"full": np.full((1, 3), 0.5), "lora": np.full((1, 3), 0.9)}
    (row,) = comparisons.compare(scores, "full", generator=generator())
    assert row.difference == pytest.approx(0.4)
    assert (row.interval, row.p_value, row.p_adjusted, row.differs) == (None, None, None, None)
    assert (row.improvement_interval, row.detectable) == (None, None)
    pairs = comparisons.compare_pairs(scores)
    assert pairs["lora", "full"].difference == pytest.approx(0.4)
    assert (pairs["lora", "full"].interval, pairs["lora", "full"].differs) == (None, None)


def test_too_few_pairs_say_so() -> None:
    scores = {"full": np.zeros((2, 2)), "lora": np.array([[1.0, 1.1], [0.9, 1.2]])}
    (row,) = comparisons.compare(scores, "full", generator=generator())
    assert row.p_value == pytest.approx(2 / 2**4)
    assert row.differs is False


def test_compare_pairs_corrects_and_decides() -> None:
    full = generator(1).normal(size=(5, 4)) * SPREADS
    close = full + generator(2).normal(size=(5, 4)) * 0.1
    scores = {"lora": full + 1 + generator(3).normal(size=(5, 4)) * 0.1, "full": full, "bitfit": close}
    scores["bitfit"][0, 0] = np.nan
    lora, bitfit = comparisons.compare(scores, "full", generator=generator())
    assert (lora.method, lora.baseline, lora.pairs, bitfit.pairs) == ("lora", "full", 20, 19)
    assert lora.difference == pytest.approx(1, abs=0.1)
    assert lora.interval == stats.mean_interval(scores["lora"] - full)
    assert lora.p_value == pytest.approx(2 / 2**20)
    assert lora.p_adjusted == pytest.approx(4 / 2**20)
    assert lora.differs is True
    assert bitfit.differs is False
    with pytest.raises(ValueError, match="baseline 'adapter' has no scores; there are lora, full, bitfit"):
        comparisons.compare(scores, "adapter", generator=generator())


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_detectable_difference_is_statsmodels_for_one_task(seeds: int) -> None:
    gaps = generator(seeds).normal(size=(seeds, 1)) * 3
    effect = TTestPower().solve_power(nobs=seeds, alpha=0.05, power=0.8)
    assert comparisons.detectable_difference(gaps) == pytest.approx(effect * gaps.std(ddof=1), rel=1e-4)


def test_detectable_difference_is_found_four_times_in_five() -> None:
    # Setting: 5 seeds by 4 tasks, spread 1 everywhere: standard error 1 / sqrt(20), 16 degrees of freedom.
    pattern = np.array([-1, -1, 0, 1, 1.0])[:, None] * np.ones((1, 4))  # variance 1 in each task
    difference = comparisons.detectable_difference(pattern)
    assert difference is not None
    rng, found, tested = generator(4), 0, 0
    for _ in range(1_500):
        gaps = rng.normal(size=(5, 4)) + difference
        interval, p = stats.mean_interval(gaps), comparisons.sign_flip_test(gaps, generator=rng)
        assert interval is not None
        assert p is not None
        found, tested = found + (interval.low > 0), tested + (p <= 0.05)
    assert 0.76 <= found / 1_500 <= 0.84
    assert 0.76 <= tested / 1_500 <= 0.86


def test_false_alarms_are_at_most_5_percent() -> None:
    # Setting: 5 seeds by 4 tasks, both methods alike, spreads over tasks 1:12. The simulation's own
    # error is 0.4%, so an alarm rate of 5% may show as 5.8%.
    rng = generator(9)
    alarms = 0
    for _ in range(2_000):
        p = comparisons.sign_flip_test(rng.normal(size=(5, 4)) * SPREADS, generator=rng)
        assert p is not None
        alarms += p <= 0.05
    assert 0.03 <= alarms / 2_000 <= 0.058  # the lower bound: the test is not asleep


def test_a_family_of_comparisons_raises_a_false_alarm_in_at_most_5_percent() -> None:
    # Setting: five methods against a baseline, all alike, 5 seeds by 4 tasks; 500 experiments (error 1%).
    rng, alarms = generator(10), 0
    for _ in range(500):
        noise = rng.normal(size=(6, 5, 4)) * SPREADS
        tested = [comparisons.sign_flip_test(one - noise[0], generator=rng) for one in noise[1:]]
        alarms += any(p is not None and p <= 0.05 for p in comparisons.holm(tested))
    assert alarms / 500 <= 0.07


def test_one_pair_is_students_t_test() -> None:
    ours, theirs = np.array([[0.71], [0.74], [0.77]]), np.array([[0.61], [0.70], [0.65]])
    pairs = comparisons.compare_pairs({"a": ours, "b": theirs})
    found, reference = pairs["a", "b"], scipy_stats.ttest_rel(ours[:, 0], theirs[:, 0])
    assert found.p_value == pytest.approx(reference.pvalue)
    assert found.p_adjusted == pytest.approx(reference.pvalue)
    assert found.interval == pytest.approx(tuple(reference.confidence_interval(0.95)))
    assert (found.always_above, pairs["b", "a"].always_below) == (True, True)
    assert found.interval is not None
    assert pairs["b", "a"].interval == pytest.approx((-found.interval.high, -found.interval.low))


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 6), st.integers(2, 4), st.integers(1, 3), st.integers(2, 1000), st.integers(0, 2**32 - 1))
def test_interval_and_verdict_of_a_pair_agree(methods: int, seeds: int, tasks: int, rows: int, seed: int) -> None:
    drawn = 0.5 + generator(seed).normal(size=(methods, seeds, tasks)) * 0.2
    scores = np.clip(np.round(drawn * rows) / rows, 0, 1)
    named = {f"m{at}": one for at, one in enumerate(scores)}
    for (one, other), pair in comparisons.compare_pairs(named, resolution=1 / rows, span=1.0).items():
        assert pair.interval is not None
        assert -1 <= pair.interval.low < pair.interval.high <= 1, "inside the bounds, and never of zero width"
        assert pair.differs is (not pair.interval.low <= 0 <= pair.interval.high)
        assert pair.p_adjusted is not None
        assert pair.differs is (pair.p_adjusted < 0.05)
        assert (pair.method, pair.baseline) == (one, other)
