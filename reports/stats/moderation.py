"""The variance over seeds, estimated for all methods of one panel together (on one task, or on all tasks).

Two or three seeds hardly determine the variance of one method, but eight methods together show how large such variances
typically are. Each method's variance is therefore moderated: averaged with a prior variance, weighted by degrees of
freedom (Smyth, Statistical Applications in Genetics and Molecular Biology 3, 2004; `eBayes` of the R package limma).
The prior and its degrees of freedom are estimated from the mean and the variance of the logarithms of the methods'
variances. Where these differ much, each method keeps mostly its own variance. Where they do not, the degrees of freedom
of the prior are still limited (`most_freedom`): at two or three seeds a method whose scores spread ten times as much as
the others' looks like them in one experiment of six, and its interval must not become narrow for that.

Scores are (rows, seeds, tasks), a row being a method or a pair of methods, NaN where a run is absent.
`python -m benchmarks.coverage` simulates how often the intervals cover the truth.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Array = NDArray[np.float64]

LARGEST_SHARE = 0.85
"""The most degrees of freedom that a variance borrows from the prior, as a share of its own ones plus 1."""

COINCIDENCE = 0.05
"""Scores that do not differ between seeds are taken for chance where they are at least this probable.

Where they are less probable, the method is taken for one that always answers the same, and left out of the prior.
"""


class Spread(NamedTuple):
    """The variance of each row's mean over tasks, with its degrees of freedom.

    Attributes:
        variances: (rows,); NaN with fewer than two seeds on any task, 0 where the scores do not differ and their
            resolution is not known.
        freedom: (rows,) degrees of freedom of the variances.
        varied: (rows,) whether the scores of any task differ between seeds.
    """

    variances: Array
    freedom: Array
    varied: NDArray[np.bool_]


class Prior(NamedTuple):
    """The variance that is typical of one panel, and the degrees of freedom with which it enters the average.

    The degrees of freedom are infinite where the variances differ no more than they would by chance.
    """

    variance: float
    freedom: float


def own_spread(cube: Array, resolution: ArrayLike = 0.0) -> Spread:
    """The variance of each row's mean from its own scores alone, before any moderation.

    Tasks are fixed and seeds are a sample, so the variances of the tasks' means add up. The degrees of freedom are
    Satterthwaite's, from the tasks' variances averaged over rows; for a single row this is the classical t interval.
    The variance of a task's scores is never below that of rounding to steps, step ** 2 / 12, since with few seeds and
    few test rows scores often agree by chance.

    Args:
        cube: (rows, seeds, tasks), NaN where a run is absent.
        resolution: the step between possible scores of each task, (tasks,); 0 where it is not known.

    One method, one task, scores 1, 2 and 3: the variance of the mean is 1 / 3, with 2 degrees of freedom:

    >>> spread = own_spread(np.array([[[1.0], [2.0], [3.0]]]))
    >>> spread.variances.round(4), spread.freedom
    (array([0.3333]), array([2.]))
    """
    counts = (~np.isnan(cube)).sum(axis=1)  # (rows, tasks)
    centres = np.nansum(cube, axis=1) / np.maximum(counts, 1)
    gaps = cube - centres[:, None]
    size = np.maximum(np.abs(centres), 1e-300)
    varied = np.fmax.reduce(np.abs(gaps), axis=1) > 1e-12 * size  # beyond what floating point rounds
    squares = np.where(varied, np.nansum(gaps**2, axis=1), 0.0) / np.maximum(counts - 1, 1)
    squares = np.maximum(squares, np.asarray(resolution, dtype=float) ** 2 / 12)
    estimable = counts.min(axis=1) >= 2
    variances = np.where(estimable, (squares / np.maximum(counts, 1)).sum(axis=1) / counts.shape[1] ** 2, np.nan)
    typical = squares[estimable].mean(axis=0) if estimable.any() else np.zeros(counts.shape[1])
    typical = typical if typical.any() else np.ones(counts.shape[1])
    shares = typical / np.maximum(counts, 1)  # (rows, tasks)
    freedom = shares.sum(axis=1) ** 2 / (shares**2 / np.maximum(counts - 1, 1)).sum(axis=1)
    return Spread(variances, np.where(estimable, freedom, np.nan), varied.any(axis=1))


def prior_of(spread: Spread) -> Prior | None:
    """Estimates the prior by the method of moments (Smyth 2004, section 6.2).

    A variance s2 with d degrees of freedom has E log s2 = log sigma2 + digamma(d / 2) - log(d / 2). With d0 the prior's
    degrees of freedom, the logarithms vary by trigamma(d / 2) + trigamma(d0 / 2), which gives d0.

    Returns:
        None with fewer than two variances to estimate it from.
    """
    use = _informative(spread)
    if use.sum() < 2:
        return None
    half = spread.freedom[use] / 2
    logs = np.log(spread.variances[use]) - special.digamma(half) + np.log(half)
    excess = float(logs.var(ddof=1) - special.polygamma(1, half).mean())
    if excess <= 0:  # they differ no more than by chance
        return Prior(float(np.exp(logs.mean())), np.inf)
    half_prior = inverse_trigamma(excess)
    variance = float(np.exp(logs.mean() + special.digamma(half_prior) - np.log(half_prior)))
    return Prior(variance, 2 * half_prior)


def _informative(spread: Spread) -> NDArray[np.bool_]:
    """Marks the rows whose variance informs the prior, (rows,).

    A row whose scores do not differ between seeds enters with the variance of rounding, if they may well agree by
    chance. If not, the method probably failed and always answers the same. It would pull the prior down, and is left
    out; that can only widen intervals.
    """
    varied = spread.varied & (spread.variances > 0)
    if not varied.any():
        return varied
    ratio = spread.variances / np.median(spread.variances[varied])
    chance = special.chdtr(spread.freedom, spread.freedom * ratio)
    informative: NDArray[np.bool_] = varied | ((spread.variances > 0) & (chance >= COINCIDENCE))
    return informative


def moderated(spread: Spread, sources: ArrayLike) -> Spread:
    """Averages each variance with the prior, weighted by degrees of freedom; the degrees of freedom add up.

    Args:
        spread: the variance of each row from its own scores, as `own_spread` gives it.
        sources: to how many independent variances the rows amount.

    Returns:
        The moderated variances; `spread` itself where there are too few of them for a prior.

    Four variances with 4 degrees of freedom each. They are so alike that the prior's degrees of freedom are limited by
    `most_freedom` alone, to (4 - 1) / 6 * (4 + 1) = 2.5. The fourth variance moves towards the prior's, 1.45:

    >>> spread = Spread(np.array([1.0, 1.0, 1.0, 1.5]), np.full(4, 4.0), np.full(4, True))
    >>> prior = prior_of(spread)
    >>> round(prior.variance, 2), prior.freedom, most_freedom(4, 4)
    (1.45, inf, array(2.5))
    >>> result = moderated(spread, 4)
    >>> bool(np.isclose(result.variances[3], (2.5 * prior.variance + 4 * 1.5) / 6.5)), float(result.freedom[3])
    (True, 6.5)
    """
    prior = prior_of(spread)
    if prior is None:
        return spread
    borrowed = np.minimum(prior.freedom, most_freedom(spread.freedom, sources))
    total = borrowed + spread.freedom
    variances = (borrowed * prior.variance + spread.freedom * spread.variances) / total
    return Spread(variances, total, spread.varied)


def most_freedom(freedom: ArrayLike, sources: ArrayLike) -> Array:
    """The limit on the prior's degrees of freedom: `min((sources - 1) / 6, LARGEST_SHARE) * (freedom + 1)`.

    Few or uncertain variances cannot show that none of the methods is much noisier than the rest. The limit was set by
    simulation: with equally good methods, one of them 4 or 10 times as noisy as the rest, at most 5% of experiments
    claim any difference (`python -m benchmarks.coverage`). With one source there is nothing to borrow, and it is 0.

    Args:
        freedom: the degrees of freedom of each variance.
        sources: how many independent variances there are.
    """
    share: Array = np.clip((np.asarray(sources, dtype=float) - 1) / 6, 0, LARGEST_SHARE)
    return np.asarray(share * (np.asarray(freedom, dtype=float) + 1))


def method_spread(cube: Array, resolution: ArrayLike = 0.0, still: ArrayLike = False) -> Spread:
    """The variance of each method's mean, moderated over the methods.

    Where a seed raises or lowers the scores of all M methods together (its training rows are the same for all), their
    variances are not independent. They amount to M / (1 + (M - 1) r ** 2) independent ones, where r is the correlation
    between methods, estimated from the variance of the average over methods.

    Args:
        cube: (methods, seeds, tasks).
        resolution: the step between possible scores of each task, (tasks,).
        still: (methods,), True for methods that train nothing; those without any spread are not moderated.
    """
    separate = own_spread(cube, resolution)
    moving = _moving(separate, still)
    return _of_moving(separate, moving, cube)


def pair_spread(
    cube: Array,
    first: NDArray[np.intp],
    second: NDArray[np.intp],
    resolution: ArrayLike = 0.0,
    still: ArrayLike = False,
) -> Spread:
    """The variance of each pair's mean difference over the same seeds, moderated over the pairs.

    The differences between the M methods that vary form one group, which holds M - 1 independent variances. The
    difference to a method that trains nothing and never varies has the variance of the other method alone; the
    differences to each such method form a separate group.

    Args:
        cube: (methods, seeds, tasks).
        first: (pairs,), index of the first method of each pair.
        second: (pairs,), index of the second method.
        resolution: the step between possible scores of each task, (tasks,).
        still: (methods,), True for methods that train nothing.
    """
    gaps = cube[first] - cube[second]
    # A difference holds two rounding errors, so its variance of rounding is twice that of a score.
    separate = own_spread(gaps, np.asarray(resolution, dtype=float) * np.sqrt(2))
    moving = _moving(own_spread(cube, resolution), still)
    both = moving[first] & moving[second]
    result = _replaced(separate, both, moderated(_part(separate, both), int(moving.sum()) - 1))
    for quiet in np.flatnonzero(~moving):
        to_it = ((first == quiet) & moving[second]) | ((second == quiet) & moving[first])
        signed = np.where((first == quiet)[:, None, None], -gaps, gaps)
        result = _replaced(result, to_it, _part(_of_moving(separate, to_it, signed), to_it))
    return result


def half_width(spread: Spread, level: float) -> Array:
    """Half the width of each row's t interval: the t quantile times the standard error; NaN where there is none.

    >>> half_width(Spread(np.array([1 / 3]), np.array([2.0]), np.array([True])), 0.95).round(3)
    array([2.484])
    """
    widths: Array = special.stdtrit(spread.freedom, (1 + level) / 2) * np.sqrt(spread.variances)
    return np.where(spread.variances > 0, widths, np.nan)


def inverse_trigamma(value: float) -> float:
    """Solves trigamma(y) = value by Newton's method on 1 / trigamma, which is nearly linear (Smyth 2004, appendix).

    >>> round(inverse_trigamma(np.pi**2 / 6), 6)  # trigamma(1) = pi ** 2 / 6
    1.0
    """
    # At both extremes the limits of trigamma, 1 / y ** 2 and 1 / y, are exact to rounding.
    if value > 1e7:
        return float(1 / np.sqrt(value))
    if value < 1e-6:
        return 1 / value
    y = 0.5 + 1 / value
    for _ in range(50):
        trigamma = special.polygamma(1, y)
        step = trigamma * (1 - trigamma / value) / special.polygamma(2, y)
        y += step
        if abs(step) < 1e-10 * y:
            break
    return float(y)


def _moving(separate: Spread, still: ArrayLike) -> NDArray[np.bool_]:
    """Marks the methods that can vary over seeds: all but those that train nothing and show no spread."""
    moving: NDArray[np.bool_] = separate.varied | ~np.broadcast_to(np.asarray(still, dtype=bool), separate.varied.shape)
    return moving


def _of_moving(separate: Spread, moving: NDArray[np.bool_], cube: Array) -> Spread:
    """Moderates the moving rows; how many independent variances they amount to follows from their correlation."""
    count = int((moving & (separate.variances > 0)).sum())
    if count < 2:
        return separate
    use = moving & (separate.variances > 0)
    centred = cube[use] - np.nanmean(cube[use], axis=1, keepdims=True)
    common = np.full((1, *cube.shape[1:]), np.nan)
    seen = ~np.isnan(centred).all(axis=0)
    common[0][seen] = np.nanmean(centred[:, seen], axis=0)
    # The variance of an average of M equally correlated methods is (1 + (M - 1) r) / M times their mean variance.
    inflation = count * own_spread(common).variances[0] / separate.variances[use].mean()
    correlation = (min(max(inflation, 1.0), count) - 1) / (count - 1)
    sources = count / (1 + (count - 1) * correlation**2)
    return _replaced(separate, moving, moderated(_part(separate, moving), sources))


def _part(spread: Spread, rows: NDArray[np.bool_]) -> Spread:
    return Spread(spread.variances[rows], spread.freedom[rows], spread.varied[rows])


def _replaced(spread: Spread, rows: NDArray[np.bool_], part: Spread) -> Spread:
    variances, freedom = spread.variances.copy(), spread.freedom.copy()
    variances[rows], freedom[rows] = part.variances, part.freedom
    return Spread(variances, freedom, spread.varied)
