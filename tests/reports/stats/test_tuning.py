"""Tuning curves: by enumeration, against scipy and opda, and the coverage of the bands by simulation."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from reports.stats import tuning

KINDS = ("highest-density", "equal-tailed", "ks")


def test_expected_best_is_the_mean_over_all_subsets() -> None:
    scores = np.random.default_rng(0).random(7)
    by_hand = [np.mean([max(subset) for subset in combinations(scores, size)]) for size in range(1, 8)]
    assert tuning.expected_best(scores) == pytest.approx(by_hand)
    beyond = tuning.expected_best(scores, [7, 8, 2.5])
    assert beyond[0] == pytest.approx(scores.max())
    assert np.isnan(beyond[1:]).all()
    assert tuning.expected_best(np.arange(3000.0), [2]) == pytest.approx([3000 * 2 / 3 - 1 / 3]), "no overflow"


@pytest.mark.parametrize("count", [1, 2, 12, 60])
def test_probability_inside_is_that_of_kolmogorov_and_smirnov(count: int) -> None:
    rank = np.arange(1, count + 1)
    for distance in (0.1, 0.3, 0.6):
        inside = tuning.probability_inside(
            np.clip(rank / count - distance, 0, 1), np.clip((rank - 1) / count + distance, 0, 1)
        )
        assert inside == pytest.approx(scipy_stats.kstwo.cdf(distance, count), abs=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 12])
def test_bands_have_their_level_exactly(kind: tuning.BandKind, count: int) -> None:
    for level in (0.5, 0.95):
        low, high = tuning.band_limits(count, level, kind)
        assert tuning.probability_inside(low[1:], high[:-1]) == pytest.approx(level, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_band_of_the_median_covers_the_whole_curve(kind: tuning.BandKind) -> None:
    """Of Beta(4, 2) scores; and of the same rounded to tenths, of which many tie. 2,000 samples: an error of 0.9%."""
    generator = np.random.default_rng(3)
    low, high = tuning.band_limits(12, 0.8, kind)
    trials = np.geomspace(1e-2, 1e3, 2000)  # every quantile is the median of the best of some number of draws
    truth = scipy_stats.beta.ppf(0.5 ** (1 / trials), 4, 2)
    tenths = np.arange(11) / 10
    rounded_cdf = scipy_stats.beta.cdf(np.minimum(tenths + 0.05, 1), 4, 2)
    held, held_rounded = 0, 0
    for _ in range(2000):
        scores = generator.beta(4, 2, size=12)
        support = np.concatenate([[0], np.sort(scores), [1]])
        step = np.concatenate([np.arange(13), [12]])
        below, above = high[step], low[step]
        above[-1] = below[-1] = 1
        lower = tuning.median_best(support, below, trials)
        upper = tuning.median_best(support, above, trials)
        held += bool((lower <= truth).all() and (truth <= upper).all())
        at_most = np.searchsorted(np.sort(scores.round(1)), tenths, side="right")
        held_rounded += bool(((low[at_most] <= rounded_cdf) & (rounded_cdf <= high[at_most])).all())
    assert held / 2000 == pytest.approx(0.8, abs=0.03)
    assert held_rounded / 2000 >= 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_curves_are_those_of_opda(kind: tuning.BandKind) -> None:
    """opda 0.8 simulates the critical value of its Beta bands with 100,000 draws, and so errs by about 0.001."""
    nonparametric = pytest.importorskip("opda.nonparametric", reason="pip install opda")
    scores = np.random.default_rng(0).beta(4, 2, size=13)
    theirs = {"ks": "ks", "equal-tailed": "ld_equal_tailed", "highest-density": "ld_highest_density"}[kind]
    low, point, high = nonparametric.EmpiricalDistribution.confidence_bands(
        scores, 0.8, a=0.0, b=1.0, method=theirs, n_jobs=1, generator=np.random.default_rng(1)
    )
    error = 1e-9 if kind == "ks" else 2e-3
    for of, name in (("median", "quantile_tuning_curve"), ("mean", "average_tuning_curve")):
        ours = tuning.tuning_curve(scores, kind=kind, of=of)
        for mine, cdf in ((ours.low, high), (ours.centre, point), (ours.high, low)):
            assert mine == pytest.approx(getattr(cdf, name)(ours.trials), abs=error)
        assert ours.expected == pytest.approx(point.u_tuning_curve(ours.trials.astype(int)))


def test_costs_move_the_curve_sideways_and_bad_input_is_refused() -> None:
    scores = [0.5, 0.75, 0.625]
    plain, dear = tuning.tuning_curve(scores), tuning.tuning_curve(scores, costs=[4e9, 2e9, 3e9])
    assert plain.cost is None
    assert dear.cost == pytest.approx([3e9, 6e9, 9e9])
    assert dear.high == pytest.approx(plain.high)
    for bad, words in (
        ({"scores": []}, "at least one"),
        ({"scores": [0.5, np.nan]}, "floor's score"),
        ({"scores": [0.5, 1.5]}, "between the bounds"),
        ({"scores": [0.5], "costs": [1, 2]}, "for each of 1 trials"),
        ({"scores": [0.5], "trials": [0]}, "at least 1"),
        ({"scores": [0.5], "level": 1.0}, "between 0 and 1"),
        ({"scores": [0.5, 0.6], "kind": "bootstrap"}, "unknown band"),
    ):
        with pytest.raises(ValueError, match=words):
            tuning.tuning_curve(**bad)
