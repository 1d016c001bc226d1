"""The variance over seeds, estimated together for the methods of one place (one task and K, or all tasks).

Two or three seeds hardly tell a method's own variance, but eight methods together tell how large such variances
are there. Each own variance is therefore moderated: averaged with a prior variance, weighted by degrees of
freedom (Smyth, Statistical Applications in Genetics and Molecular Biology 3, 2004; `eBayes` of the package
limma). The prior and its degrees of freedom are estimated from the mean and the variance of the logarithms of
the own variances: where these differ much, each keeps mostly its own. Where they do not, the prior still counts
few degrees of freedom (`most_freedom`): at two or three seeds one method of ten times the others' spread looks like
them in one experiment of six, and must not be told from them for that.

Scores are (rows, seeds, tasks), a row being a method or a pair of methods, NaN where a run is absent.
`python -m benchmarks.coverage` shows what the intervals cover.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Array = NDArray[np.float64]

LARGEST_SHARE = 0.85
"""Of its own degrees of freedom and one more, how many a variance borrows from its prior at most."""

COINCIDENCE = 0.05
"""The least probability at which scores that do not differ pass for chance, and not for another kind of method."""


class Spread(NamedTuple):
    """The variance of each row's mean over tasks, with its degrees of freedom.

    Attributes:
        variances: (rows,); NaN with fewer than two seeds on any task, 0 where nothing tells a variance.
        freedom: (rows,) degrees of freedom of the variances.
        varied: (rows,) whether the scores of any task differ between seeds.
    """

    variances: Array
    freedom: Array
    varied: NDArray[np.bool_]


class Prior(NamedTuple):
    """What variances are like in one place, and how many degrees of freedom they show that to be worth.

    The degrees of freedom are infinite where the variances differ no more than chance has them differ.
    """

    variance: float
    freedom: float


def own_spread(cube: Array, resolution: ArrayLike = 0.0) -> Spread:
    """Each row's variance by itself: tasks are fixed, seeds a sample, variances of the tasks' means add up.

    Degrees of freedom are Satterthwaite's, from the tasks' variances averaged over rows: of one row it is the
    classical t interval. A variance is never below that of rounding to the score's steps, step ** 2 / 12: at few
    seeds scores on few test rows often agree by chance.

    Args:
        cube: (rows, seeds, tasks).
        resolution: the step of the scores of each task; 0 where it is not known.
    """
    counts = (~np.isnan(cube)).sum(axis=1)  # (rows, tasks)
    centres = np.nansum(cube, axis=1) / np.maximum(counts, 1)
    gaps = cube - centres[:, None]
    size = np.maximum(np.abs(centres), 1e-300)
    varied = np.fmax.reduce(np.abs(gaps), axis=1) > 1e-12 * size  # beyond what floating point rounds
    squares = np.where(varied, np.nansum(gaps**2, axis=1), 0.0) / np.maximum(counts - 1, 1)
    squares = np.maximum(squares, np.asarray(resolution, dtype=float) ** 2 / 12)
    known = counts.min(axis=1) >= 2
    variances = np.where(known, (squares / np.maximum(counts, 1)).sum(axis=1) / counts.shape[1] ** 2, np.nan)
    typical = squares[known].mean(axis=0) if known.any() else np.zeros(counts.shape[1])
    typical = typical if typical.any() else np.ones(counts.shape[1])
    shares = typical / np.maximum(counts, 1)  # (rows, tasks)
    freedom = shares.sum(axis=1) ** 2 / (shares**2 / np.maximum(counts - 1, 1)).sum(axis=1)
    return Spread(variances, np.where(known, freedom, np.nan), varied.any(axis=1))


def prior_of(spread: Spread) -> Prior | None:
    """The prior by Smyth's method of moments; None with fewer than two variances to estimate it from."""
    use = _informative(spread)
    if use.sum() < 2:
        return None
    half = spread.freedom[use] / 2
    logs = np.log(spread.variances[use]) - special.digamma(half) + np.log(half)
    excess = float(logs.var(ddof=1) - special.polygamma(1, half).mean())
    if excess <= 0:  # no more different than chance has them
        return Prior(float(np.exp(logs.mean())), np.inf)
    half_prior = inverse_trigamma(excess)
    variance = float(np.exp(logs.mean() + special.digamma(half_prior) - np.log(half_prior)))
    return Prior(variance, 2 * half_prior)


def _informative(spread: Spread) -> NDArray[np.bool_]:
    """Rows that tell how large a spread is like.

    Scores that do not differ between seeds stand for the variance of rounding where chance may well have made
    them agree. A method that gave up and always answers the same would draw the others' prior down: it is left
    out, which can only widen intervals.
    """
    varied = spread.varied & (spread.variances > 0)
    if not varied.any():
        return varied
    ratio = spread.variances / np.median(spread.variances[varied])
    chance = special.chdtr(spread.freedom, spread.freedom * ratio)
    informative: NDArray[np.bool_] = varied | ((spread.variances > 0) & (chance >= COINCIDENCE))
    return informative


def moderated(spread: Spread, sources: ArrayLike) -> Spread:
    """The rows' variances averaged with their prior, weights being degrees of freedom, which add up.

    Args:
        spread: of each row by itself.
        sources: how many independent variances the rows amount to.

    Returns:
        The same as given where there is nothing to borrow from.
    """
    prior = prior_of(spread)
    if prior is None:
        return spread
    borrowed = np.minimum(prior.freedom, most_freedom(spread.freedom, sources))
    total = borrowed + spread.freedom
    variances = (borrowed * prior.variance + spread.freedom * spread.variances) / total
    return Spread(variances, total, spread.varied)


def most_freedom(freedom: ArrayLike, sources: ArrayLike) -> Array:
    """The degrees of freedom that a prior counts at most, for variances that have so many of their own.

    So few, or so uncertain, variances cannot show that none of the methods is much noisier than the rest. The share
    was set by simulation: of equal methods, one of them 4 or 10 times as noisy as the rest, at most 5% of experiments
    tell any apart (`python -m benchmarks.coverage`). One source has nothing to borrow from.

    Args:
        freedom: of each own variance.
        sources: how many independent variances there are.
    """
    own = np.asarray(freedom, dtype=float)
    share: Array = np.clip((np.asarray(sources, dtype=float) - 1) / 6, 0, LARGEST_SHARE)
    most: Array = share * (own + 1)
    return most


def method_spread(cube: Array, resolution: ArrayLike = 0.0, still: ArrayLike = False) -> Spread:
    """The variance of each method's mean, moderated over the methods.

    Where a seed moves all methods together (its training rows are the same for all), their variances repeat one
    another: they amount to M / (1 + (M - 1) r ** 2) independent ones, r the
    correlation between methods, estimated from the spread of the average over methods.

    Args:
        cube: (methods, seeds, tasks).
        resolution: the step of the scores of each task.
        still: (methods,) which train nothing; those of them without any spread keep their own variance.
    """
    own = own_spread(cube, resolution)
    moving = _moving(own, still)
    return _of_moving(own, moving, cube)


def pair_spread(
    cube: Array,
    first: NDArray[np.intp],
    second: NDArray[np.intp],
    resolution: ArrayLike = 0.0,
    still: ArrayLike = False,
) -> Spread:
    """The variance of each pair's mean difference over the same seeds, moderated over the pairs.

    Differences between methods that vary are one group, of M - 1 independent variances; differences to a method that
    trains nothing and never varies have one method's variance: they are groups of their own.

    Args:
        cube: (methods, seeds, tasks).
        first: (pairs,) indices of the one method of each pair.
        second: (pairs,) of the other.
        resolution: the step of the scores of each task.
        still: (methods,) which train nothing.
    """
    gaps = cube[first] - cube[second]
    # A difference is rounded twice.
    own = own_spread(gaps, np.asarray(resolution, dtype=float) * np.sqrt(2))
    moving = _moving(own_spread(cube, resolution), still)
    both = moving[first] & moving[second]
    result = _replaced(own, both, moderated(_part(own, both), int(moving.sum()) - 1))
    for quiet in np.flatnonzero(~moving):
        to_it = ((first == quiet) & moving[second]) | ((second == quiet) & moving[first])
        signed = np.where((first == quiet)[:, None, None], -gaps, gaps)
        result = _replaced(result, to_it, _part(_of_moving(own, to_it, signed), to_it))
    return result


def half_width(spread: Spread, level: float) -> Array:
    """Half the width of each row's t interval; NaN where there is none."""
    widths: Array = special.stdtrit(spread.freedom, (1 + level) / 2) * np.sqrt(spread.variances)
    return np.where(spread.variances > 0, widths, np.nan)


def inverse_trigamma(value: float) -> float:
    """The y whose trigamma is the value, by Newton's method on 1 / trigamma, which is nearly straight (Smyth, 2004)."""
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


def _moving(own: Spread, still: ArrayLike) -> NDArray[np.bool_]:
    """Which methods may vary: all but those that train nothing and show no spread."""
    moving: NDArray[np.bool_] = own.varied | ~np.broadcast_to(np.asarray(still, dtype=bool), own.varied.shape)
    return moving


def _of_moving(own: Spread, moving: NDArray[np.bool_], cube: Array) -> Spread:
    """The spread with the moving rows moderated; their correlation tells how many independent ones they are."""
    count = int((moving & (own.variances > 0)).sum())
    if count < 2:
        return own
    use = moving & (own.variances > 0)
    centred = cube[use] - np.nanmean(cube[use], axis=1, keepdims=True)
    common = np.full((1, *cube.shape[1:]), np.nan)
    seen = ~np.isnan(centred).all(axis=0)
    common[0][seen] = np.nanmean(centred[:, seen], axis=0)
    inflation = count * own_spread(common).variances[0] / own.variances[use].mean()
    correlation = (min(max(inflation, 1.0), count) - 1) / (count - 1)
    sources = count / (1 + (count - 1) * correlation**2)
    return _replaced(own, moving, moderated(_part(own, moving), sources))


def _part(spread: Spread, rows: NDArray[np.bool_]) -> Spread:
    return Spread(spread.variances[rows], spread.freedom[rows], spread.varied[rows])


def _replaced(spread: Spread, rows: NDArray[np.bool_], part: Spread) -> Spread:
    variances, freedom = spread.variances.copy(), spread.freedom.copy()
    variances[rows], freedom[rows] = part.variances, part.freedom
    return Spread(variances, freedom, spread.varied)
