"""Tuning curves: how good is the best of m settings, when n of them were drawn at random and tried?

The n scores are independent draws of one distribution F, that of the dev score of a setting drawn at random from the
search space (and trained with a seed drawn at random). The best of m new draws has the distribution F(y) ** m. From
the n scores come:

- its mean, by `expected_best`, without bias for m up to n (Tang et al., ACL 2020; the V statistic of Dodge et al.,
  EMNLP 2019, is biased downwards);
- its median, Q(0.5 ** (1 / m)), Q being the quantile function of F;
- bands around either that hold for every m at once, whatever F is (Lourie, Cho and He, arXiv 2311.09480). A band
  low <= F <= high that holds at every y with probability `level` gives them: the greater F, the lower the best of m.

Bands of F count how many scores are at most y. Where j are, U(j) <= F(y) < U(j + 1), U(1) <= ... <= U(n) being the
order statistics of n uniform numbers. The i-th of them has the distribution Beta(i, n + 1 - i): an interval of the same
coverage c around each (`highest-density` or `equal-tailed`; Learned-Miller and DeStefano, IEEE Transactions on
Information Theory 54, 2008) is widened until all hold together with probability `level`, which `probability_inside`
computes without simulation. `ks` is j / n plus and minus one constant (Kolmogorov and Smirnov). With scores that tie,
as shares of few dev rows do, the bands hold with more than their level.

A failed trial is a draw like any other: pass it with the score of the floor. Scores higher are better.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Array = NDArray[np.float64]
BandKind = Literal["highest-density", "equal-tailed", "ks"]

LEVEL = 0.8
"""Of a band around a whole curve. Without any assumption n scores bound the best of about n / 5 draws from above: at 12
trials the upper end of this band is below the bound of the scores up to the best of 2, at 95% for the best of 1."""

HALVINGS = 45
"""Of a bracket within [0, 1]: to below 1e-13."""


@dataclass(frozen=True, kw_only=True)
class TuningCurve:
    """The best of m settings for several m.

    Attributes:
        trials: (points,) the m.
        cost: (points,) m times the mean cost of a trial; None where no costs were given.
        expected: (points,) mean of the best of m, unbiased; NaN for m greater than the number of scores.
        centre: (points,) of the curve that the band is about, from the scores as they are.
        low: (points,) lower end of the band.
        high: (points,) upper end; the bound of the scores where so few trials leave it open.
        of: whether `centre`, `low` and `high` are about the median or the mean of the best of m.
        level: the probability with which the band holds at all m together.
        kind: of the band.
    """

    trials: Array
    cost: Array | None
    expected: Array
    centre: Array
    low: Array
    high: Array
    of: Literal["median", "mean"]
    level: float
    kind: BandKind


def tuning_curve(
    scores: ArrayLike,
    *,
    costs: ArrayLike | None = None,
    trials: ArrayLike | None = None,
    of: Literal["median", "mean"] = "median",
    level: float = LEVEL,
    kind: BandKind = "highest-density",
    bounds: tuple[float, float] = (0.0, 1.0),
) -> TuningCurve:
    """The tuning curve of one method, with a band that holds at every m together.

    Args:
        scores: (n,) of the trials, in the order in which they were drawn or any other.
        costs: (n,) of the same trials, such as training FLOPs or seconds. Methods of unequal cost are compared by
            plotting the curve over `cost`: only x changes, y and the band stay.
        trials: the m to compute; None: 1 to n.
        of: whose band. The median's needs no bounds where the band is closed; the mean's depends on them everywhere.
        level: of the band.
        kind: of the band; see the module.
        bounds: the least and the greatest score that there can be.

    Raises:
        ValueError: the scores are none, not finite or out of bounds, or the costs do not fit.

    Examples:
        >>> curve = tuning_curve([0.5, 0.75, 0.625, 0.25], costs=[1, 2, 3, 2], level=0.5)
        >>> curve.cost.tolist(), curve.centre.tolist(), curve.expected.round(3).tolist()
        ([2.0, 4.0, 6.0, 8.0], [0.5, 0.625, 0.75, 0.75], [0.531, 0.667, 0.719, 0.75])
        >>> bool((curve.low <= curve.centre).all() and (curve.centre <= curve.high).all())
        True
    """
    array = _checked(scores, bounds)
    points = np.arange(1, len(array) + 1, dtype=float) if trials is None else np.asarray(trials, dtype=float)
    if points.ndim != 1 or not (points >= 1).all():
        raise ValueError(f"trials {points.tolist()}: give numbers of trials, each at least 1")
    best = median_best if of == "median" else mean_best
    band = cdf_band(array, level=level, kind=kind, bounds=bounds)
    return TuningCurve(
        trials=points,
        cost=None if costs is None else points * mean_cost(costs, len(array)),
        expected=expected_best(array, points),
        centre=best(band.support, band.estimate, points),
        low=best(band.support, band.high, points),
        high=best(band.support, band.low, points),
        of=of,
        level=level,
        kind=kind,
    )


def mean_cost(costs: ArrayLike, count: int) -> float:
    """The mean cost of a trial: m times it is the expected cost of m trials.

    Raises:
        ValueError: they are not `count` finite numbers, or one is negative.
    """
    array = np.asarray(costs, dtype=float)
    if array.shape != (count,) or not np.isfinite(array).all() or (array < 0).any():
        raise ValueError(f"costs of shape {array.shape}: give a finite cost, 0 or more, for each of {count} trials")
    return float(array.mean())


def expected_best(scores: ArrayLike, trials: ArrayLike | None = None) -> Array:
    """The mean of the best of m new draws, estimated without bias: the mean best of all subsets of m of the scores.

    With the scores sorted, y(1) <= ... <= y(n), the best of a random subset of m is y(i) with probability
    w(i) = C(i - 1, m - 1) / C(n, m). They are multiplied up from w(n) = m / n by w(i) = w(i + 1) (i + 1 - m) / i.

    Args:
        scores: (n,).
        trials: the m; None: 1 to n. NaN is given for an m above n (nothing unbiased exists), and for an m
            that is not whole.

    Examples:
        >>> expected_best([0.25, 0.75, 0.5]).round(3).tolist()
        [0.5, 0.667, 0.75]
    """
    ordered = np.sort(np.asarray(scores, dtype=float))
    count = len(ordered)
    points = np.arange(1, count + 1) if trials is None else np.asarray(trials, dtype=float)
    known = (points >= 1) & (points <= count) & (points == np.floor(points))
    size = np.where(known, points, 1)[:, None]
    lower = np.arange(count - 1, 0, -1)  # i of w(n - 1) ... w(1)
    factors = np.maximum(lower + 1 - size, 0) / np.maximum(lower, 1)
    weights = np.cumprod(np.concatenate([size / count, factors], axis=1), axis=1)
    return np.where(known, weights @ ordered[::-1], np.nan)


@dataclass(frozen=True)
class CdfBand:
    """A distribution function and a band around it; all are steps, constant from one support point to the next.

    Attributes:
        support: (points,) the lower bound, the distinct scores, the upper bound.
        estimate: (points,) share of the scores that are at most the support point.
        low: (points,) lower end of the band from this point on to the next.
        high: (points,) upper end.
    """

    support: Array
    estimate: Array
    low: Array
    high: Array


def cdf_band(
    scores: ArrayLike,
    *,
    level: float = LEVEL,
    kind: BandKind = "highest-density",
    bounds: tuple[float, float] = (0.0, 1.0),
) -> CdfBand:
    """A band that contains the distribution function of the scores everywhere with probability `level`.

    Examples:
        >>> band = cdf_band([0.5, 0.25], level=0.8, kind="ks")
        >>> band.support.tolist(), band.estimate.tolist()
        ([0.0, 0.25, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0])
        >>> band.low.round(3).tolist(), band.high.round(3).tolist()
        ([0.0, 0.0, 0.316, 1.0], [0.684, 1.0, 1.0, 1.0])
    """
    array = _checked(scores, bounds)
    support = np.concatenate([[bounds[0]], np.unique(array), [bounds[1]]])
    at_most = np.searchsorted(np.sort(array), support, side="right")
    low, high = (limit[at_most] for limit in band_limits(len(array), level, kind))
    low[-1] = high[-1] = 1.0  # no score exceeds its bound
    return CdfBand(support, at_most / len(array), low, high)


def median_best(support: ArrayLike, cdf: ArrayLike, trials: ArrayLike) -> Array:
    """The median of the best of m draws: the least support point y with F(y) >= 0.5 ** (1 / m).

    Examples:
        >>> median_best([0, 0.5, 1], [0.25, 0.75, 1], [1, 2, 3]).tolist()
        [0.5, 0.5, 1.0]
    """
    probabilities = 0.5 ** (1 / np.asarray(trials, dtype=float))
    values: Array = np.asarray(support, dtype=float)[np.searchsorted(np.asarray(cdf), probabilities, side="left")]
    return values


def mean_best(support: ArrayLike, cdf: ArrayLike, trials: ArrayLike) -> Array:
    """The mean of the best of m draws: the support points weighted by the steps of F ** m.

    Examples:
        >>> mean_best([0, 0.5, 1], [0.25, 0.75, 1], [1, 2]).tolist()
        [0.5, 0.6875]
    """
    powers = np.asarray(cdf, dtype=float) ** np.asarray(trials, dtype=float)[:, None]
    values: Array = np.diff(powers, axis=1, prepend=0.0) @ np.asarray(support, dtype=float)
    return values


def band_limits(count: int, level: float, kind: BandKind) -> tuple[Array, Array]:
    """Lower and upper end of the band of F where j of `count` scores are at most y: (count + 1,) each, by j from 0.

    Raises:
        ValueError: fewer than one score, a level outside 0 to 1, or an unknown kind.

    Examples:
        >>> low, high = band_limits(2, 0.8, "equal-tailed")
        >>> low.round(3).tolist(), high.round(3).tolist()
        ([0.0, 0.029, 0.239], [0.761, 0.971, 1.0])
    """
    if count < 1 or not 0 < level < 1:
        raise ValueError(f"{count} scores at level {level}: give at least one score, and a level between 0 and 1")
    low, high = _limits(count, level, kind)
    return low.copy(), high.copy()


@lru_cache(maxsize=256)
def _limits(count: int, level: float, kind: BandKind) -> tuple[Array, Array]:
    steps = np.arange(count + 1) / count
    if kind == "ks":
        from scipy import stats  # half a second that the other kinds do not need

        distance = float(stats.kstwo.ppf(level, count))
        return np.maximum(steps - distance, 0), np.minimum(steps + distance, 1)
    if kind not in ("highest-density", "equal-tailed"):
        raise ValueError(f"unknown band {kind!r}; there is highest-density, equal-tailed, ks")
    # One order statistic is uniform: no interval of it is denser than another.
    intervals = _densest if kind == "highest-density" and count > 1 else _equal_tailed
    least, most = level, 1 - (1 - level) / count  # one interval alone, and Bonferroni's bound for all of them
    for _ in range(HALVINGS):
        coverage = (least + most) / 2
        enough = probability_inside(*intervals(count, coverage)) >= level
        least, most = (least, coverage) if enough else (coverage, most)
    low, high = intervals(count, most)
    return np.concatenate([[0.0], low]), np.concatenate([high, [1.0]])


def _equal_tailed(count: int, coverage: float) -> tuple[Array, Array]:
    """The intervals of the order statistics that leave as much probability below as above them."""
    first = np.arange(1, count + 1)
    tails = (1 - coverage) / 2
    return (
        special.betaincinv(first, count + 1 - first, tails),
        special.betaincinv(first, count + 1 - first, 1 - tails),
    )


def _densest(count: int, coverage: float) -> tuple[Array, Array]:
    """The shortest intervals of the order statistics: the density is the same at both ends, or greater at 0 or 1."""
    first = np.arange(1, count + 1)
    last = count + 1 - first

    def log_density(x: Array) -> Array:
        value: Array = special.xlogy(first - 1, x) + special.xlog1py(last - 1, -x)
        return value

    # The probability below the interval; the density at its low end rises with it, that at its high end falls.
    least, most = np.zeros(count), np.full(count, 1 - coverage)
    for _ in range(HALVINGS):
        below = (least + most) / 2
        low = special.betaincinv(first, last, below)
        high = special.betaincinv(first, last, np.minimum(below + coverage, 1))
        rising = log_density(low) < log_density(high)
        least, most = np.where(rising, below, least), np.where(rising, most, below)
    low = special.betaincinv(first, last, np.where(first == 1, 0.0, least))
    high = special.betaincinv(first, last, np.where(first == count, 1.0, np.minimum(least + coverage, 1)))
    return np.maximum.accumulate(low), np.maximum.accumulate(high)


def probability_inside(low: ArrayLike, high: ArrayLike) -> float:
    """The probability that low(i) <= U(i) <= high(i) for each of the n order statistics of uniform numbers.

    The numbers up to t are a Poisson process N(t) of n expected points, given that N(1) = n. U(i) >= low(i) says that
    N is below i at low(i), U(i) <= high(i) that it is at least i at high(i): so the distribution of N is carried from
    each end to the next by the Poisson probabilities of what is added, and counts that are excluded there are set to 0
    (Moscovich and Nadler, Statistics and Probability Letters 123, 2017). All terms are positive: nothing cancels.

    Args:
        low: (n,) not falling, within 0 and 1.
        high: (n,) likewise.

    Examples:
        >>> round(probability_inside([0.25], [0.75]), 12)
        0.5
        >>> round(probability_inside([0, 0.5], [0.5, 1]), 12)  # one number in either half
        0.5
    """
    lows, highs = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    count = len(lows)
    counts = np.arange(count + 1)
    weights = np.zeros(count + 1)
    weights[0] = 1.0
    here = 0.0
    for time in np.unique(np.concatenate([lows, highs, [1.0]])):
        if time > here:
            rate = count * (time - here)
            added = np.exp(special.xlogy(counts, rate) - rate - special.gammaln(counts + 1))
            weights = np.convolve(weights, added)[: count + 1]
        weights[counts > np.searchsorted(lows, time, side="left") + (time >= 1) * count] = 0
        weights[counts < np.searchsorted(highs, time, side="right") * (time < 1)] = 0
        here = float(time)
    total = np.exp(special.xlogy(count, count) - count - special.gammaln(count + 1))
    return float(weights[count] / total)


def _checked(scores: ArrayLike, bounds: tuple[float, float]) -> Array:
    array = np.asarray(scores, dtype=float)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"scores of shape {array.shape}: give those of the trials, (trials,), at least one")
    low, high = bounds
    if not (np.isfinite(bounds).all() and low < high):
        raise ValueError(f"bounds {bounds}: give the least and the greatest score, both finite")
    if not ((array >= low) & (array <= high)).all():
        raise ValueError(f"a score is not between the bounds {low} and {high}; give a failed trial the floor's score")
    return array
