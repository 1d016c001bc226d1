"""A figure over runs: its mean, and where there are seeds its spread and interval."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reports.stats import LEVEL, Interval, mean, mean_interval, standard_deviation


class Estimate(NamedTuple):
    """A mean over runs. At one seed it has neither spread nor interval."""

    mean: float
    runs: int
    std: float | None = None
    interval: Interval | None = None


def estimate_of(array: NDArray[np.float64]) -> Estimate | None:
    """The estimate from (seeds, columns); None if a column has no figure at all."""
    centre = mean(array)
    if centre is None:
        return None
    count = int((~np.isnan(array)).sum())
    return Estimate(centre, count, standard_deviation(array), mean_interval(array))


def by_column(cube: NDArray[np.float64]) -> list[list[Estimate]]:
    """`estimate_of` for each method and column alone, in one sweep: the t interval of a single sample."""
    from scipy import special

    count = (~np.isnan(cube)).sum(axis=1)
    centre = np.nansum(cube, axis=1) / np.maximum(count, 1)
    squares = np.nansum((cube - centre[:, None]) ** 2, axis=1)
    std = np.sqrt(squares / np.maximum(count - 1, 1))
    half = special.stdtrit(np.maximum(count - 1, 1), (1 + LEVEL) / 2) * std / np.sqrt(np.maximum(count, 1))
    return [
        [
            Estimate(centre_, n, spread, Interval(centre_ - width, centre_ + width)) if n > 1 else Estimate(centre_, n)
            for centre_, n, spread, width in zip(*rows, strict=True)
        ]
        for rows in zip(centre.tolist(), count.tolist(), std.tolist(), half.tolist(), strict=True)
    ]
