"""The mean of a figure over runs, with its standard deviation and interval where there are several seeds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reports.stats.intervals import LEVEL, Interval, mean, mean_interval, standard_deviation
from reports.stats.moderation import half_width, method_spread


class Estimate(NamedTuple):
    """A mean over runs. With one seed it has neither standard deviation nor interval."""

    mean: float
    runs: int
    std: float | None = None
    interval: Interval | None = None


def estimate_of(array: NDArray[np.float64]) -> Estimate | None:
    """The estimate over all runs of a method.

    Args:
        array: (seeds, columns), NaN where a run has no figure.

    Returns:
        None if some column has no figure at all.
    """
    centre = mean(array)
    if centre is None:
        return None
    count = int((~np.isnan(array)).sum())
    return Estimate(centre, count, standard_deviation(array), mean_interval(array))


def by_column(cube: NDArray[np.float64]) -> list[list[Estimate]]:
    """The estimate of each method and column, all computed at once, with Student's t interval of a single sample.

    Args:
        cube: (methods, seeds, columns), NaN where a run has no figure.

    Runs that all have one figure, such as a count of parameters, have no interval.
    """
    from scipy import special

    count = (~np.isnan(cube)).sum(axis=1)
    centre = np.nansum(cube, axis=1) / np.maximum(count, 1)
    squares = np.nansum((cube - centre[:, None]) ** 2, axis=1)
    std = np.sqrt(squares / np.maximum(count - 1, 1))
    half = special.stdtrit(np.maximum(count - 1, 1), (1 + LEVEL) / 2) * std / np.sqrt(np.maximum(count, 1))
    low, high = np.fmin.reduce(cube, axis=1), np.fmax.reduce(cube, axis=1)
    varied = high - low > 1e-12 * np.maximum(np.abs(low), np.abs(high))
    return [
        [
            Estimate(
                centre_,
                n,
                spread if n > 1 else None,
                Interval(centre_ - width, centre_ + width) if v and width > 0 else None,
            )
            for centre_, n, spread, width, v in zip(*rows, strict=True)
        ]
        for rows in zip(*(part.tolist() for part in (centre, count, std, half, varied)), strict=True)
    ]


def moderated_estimates(
    cube: NDArray[np.float64],
    *,
    resolution: ArrayLike = 0.0,
    still: ArrayLike = False,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> list[Estimate | None]:
    """The estimate of each method; the variance of its interval is estimated over all methods together.

    Args:
        cube: scores of one column, or of all, (methods, seeds, tasks), NaN where a run is absent.
        resolution: the smallest difference of each task's scores, 1 over its test rows; 0 if it is not known.
        still: (methods,), whether a method trains nothing.
        bounds: the least and the greatest possible score. Intervals are cut there.

    Returns:
        One estimate a method; None for a method that lacks the score of some task.
    """
    halves = half_width(method_spread(cube, resolution, still), LEVEL).tolist()
    estimates: list[Estimate | None] = []
    for scores, half in zip(cube, halves, strict=True):
        centre = mean(scores)
        if centre is None:
            estimates.append(None)
            continue
        interval = None if np.isnan(half) else Interval(centre - half, centre + half).within(*bounds)
        estimates.append(Estimate(centre, int((~np.isnan(scores)).sum()), standard_deviation(scores), interval))
    return estimates
