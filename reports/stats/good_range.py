"""How easy is a method to tune: how wide is the range of learning rates that are within a margin of its best?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from reports.stats.best import MARGIN
from reports.stats.intervals import LEVEL, Interval

Array = NDArray[np.float64]

BANDWIDTH = 0.6
"""Of the smoothing, in decades: the standard deviation of the weight that trials have on either side."""

COLLAPSE = 0.2
"""Trials so far below the best one have collapsed, not only fallen: no smooth curve joins them to the rest.

The noise of 100 dev rows spreads 12 equal trials over 0.14.
"""

STEPS = 201
"""Places at which the smooth curve is looked at."""


@dataclass(frozen=True, kw_only=True)
class GoodRange:
    """The rates around the best one whose smoothed score is within the margin of its; widths are in decades, log10.

    Attributes:
        low: its least rate.
        high: its greatest.
        width: log10(high / low).
        least: the width between the outermost trials in it.
        most: the width between the first trials outside it on either side; infinite where there is none on a side.
        open_low: whether it reaches the lowest trial: it goes on beyond what was tried.
        open_high: whether it reaches the highest.
        good: how many trials, anywhere, are within the margin of the best trial, as measured.
        share: the share of random draws that are: a Clopper-Pearson interval, which takes nothing for granted but that
            the draws are independent; of noisy scores it is too low.
    """

    low: float
    high: float
    width: float
    least: float
    most: float
    open_low: bool
    open_high: bool
    good: int
    share: Interval

    @property
    def at_least(self) -> bool:
        """Whether the width is a lower bound, to be written with a sign of at least."""
        return self.open_low or self.open_high


def good_range(
    rates: ArrayLike,
    scores: ArrayLike,
    *,
    margin: float = MARGIN,
    bandwidth: float = BANDWIDTH,
    level: float = LEVEL,
) -> GoodRange:
    """The range of rates around the best one whose score is within the margin of it.

    The score is smoothed over log10 of the rate: at each place a parabola is fitted to all trials, weighted by a
    normal density of their distance (local quadratic regression; Fan and Gijbels, 1996). The range is where the curve
    is no more than the margin below its top, as far as that goes without a gap. Trials that collapsed or failed take no
    part in the fit, which goes from the best trial to half way to the first of them on either side. Fewer than four
    trials in there are joined by straight lines.

    Where it reaches the outermost trial nothing is extrapolated: it ends there, and `at_least` says so.

    Without smoothing the margin is counted from the greatest of noisy scores, and every range looks narrow: one of 0.89
    decades looks 0.06 wide at 100 dev rows, 0.14 at 1000. Smoothed, it is 0.64 and 0.84 in the median of searches with
    12 trials, half of them between 0.56 and 0.85, and between 0.76 and 0.96. A corner is rounded off: a range of 0.75
    decades that ends in a cliff looks 0.34 and 0.53 wide (`python -m benchmarks.decisions`).

    Args:
        rates: (n,) of the trials, above 0.
        scores: (n,) on dev; a failed trial has the floor's score.
        margin: below the best, in the unit of the score.
        bandwidth: of the smoothing, in decades; 0: the trials are joined by straight lines.
        level: of the interval of the share.

    Raises:
        ValueError: shapes differ, there is no trial, a rate is not above 0, a score not finite, or the margin negative.

    Examples:
        >>> found = good_range([1e-4, 1e-3, 1e-2, 1e-1], [0.25, 0.5, 0.5, 0.25], margin=0.125, bandwidth=0)
        >>> round(found.width, 6), round(found.least, 6), round(found.most, 6), found.at_least
        (2.0, 1.0, 3.0, False)
        >>> places = np.linspace(-4, -1.5, 12)  # falls by .05 a decade squared: 2 sqrt(.01 / .05) = .894 decades
        >>> round(good_range(10**places, 0.8 - 0.05 * (places + 2.75) ** 2).width, 2)
        0.89
    """
    speed, height = np.asarray(rates, dtype=float), np.asarray(scores, dtype=float)
    if speed.ndim != 1 or speed.shape != height.shape or not len(speed):
        raise ValueError(f"rates of shape {speed.shape}, scores of {height.shape}: give one of each a trial")
    if not (speed > 0).all() or not np.isfinite(speed).all() or not np.isfinite(height).all() or not margin >= 0:
        raise ValueError("a rate is not above 0, a score not finite, or the margin negative")
    order = np.lexsort((height, speed))
    places, height = np.log10(speed[order]), height[order]
    best = int(height.argmax())
    first, last = _run(height >= height[best] - max(COLLAPSE, margin), best)
    if bandwidth > 0 and last - first >= 3:
        start = places[0] if first == 0 else (places[first - 1] + places[first]) / 2
        end = places[-1] if last == len(places) - 1 else (places[last] + places[last + 1]) / 2
        grid = np.linspace(start, end, STEPS)
        curve = smoothed(places[first : last + 1], height[first : last + 1], grid, bandwidth=bandwidth)
    else:
        grid, curve = places, height
    low, high = _above(grid, curve, float(curve.max()) - margin)
    inside = places[(places >= low) & (places <= high)]
    below, above = places[places < low], places[places > high]
    good = int((height >= height[best] - margin).sum())
    return GoodRange(
        low=float(10**low),
        high=float(10**high),
        width=high - low,
        least=float(np.ptp(inside)) if len(inside) else 0.0,
        most=float(above[0] - below[-1]) if len(below) and len(above) else np.inf,
        open_low=not len(below),
        open_high=not len(above),
        good=good,
        share=clopper_pearson(good, len(height), level=level),
    )


def smoothed(places: Array, scores: Array, grid: Array, *, bandwidth: float) -> Array:
    """Local quadratic regression: the value at each place of the grid of the parabola that fits best around it."""
    away = places - grid[:, None]
    weights = np.exp(-((away / bandwidth) ** 2) / 2)
    powers = np.stack([np.ones_like(away), away, away**2], axis=-1)  # (grid, trials, 3)
    normal = np.einsum("gt,gta,gtb->gab", weights, powers, powers) + 1e-9 * np.eye(3)
    values: Array = np.linalg.solve(normal, np.einsum("gt,gta,t->ga", weights, powers, scores)[..., None])[:, 0, 0]
    return values


def _run(good: NDArray[np.bool_], at: int) -> tuple[int, int]:
    """The first and the last of the neighbours of `at` that are good without a gap."""
    bad = np.flatnonzero(~good)
    before, after = bad[bad < at], bad[bad > at]
    return int(before[-1]) + 1 if len(before) else 0, int(after[0]) - 1 if len(after) else len(good) - 1


def _above(places: Array, curve: Array, line: float) -> tuple[float, float]:
    """Where the curve, straight between its places, crosses the line on either side of its top; else its ends."""
    first, last = _run(curve >= line, int(curve.argmax()))

    def crossing(inside: int, outside: int) -> float:
        part = (curve[inside] - line) / (curve[inside] - curve[outside])
        return float(places[inside] + part * (places[outside] - places[inside]))

    low = float(places[0]) if first == 0 else crossing(first, first - 1)
    high = float(places[-1]) if last == len(places) - 1 else crossing(last, last + 1)
    return low, high


def clopper_pearson(hits: int, count: int, *, level: float = LEVEL) -> Interval:
    """The exact interval of a share, from so many hits of `count` (Clopper and Pearson, Biometrika 26, 1934).

    Examples:
        >>> [round(end, 4) for end in clopper_pearson(0, 10)]
        [0.0, 0.3085]
    """
    tail = (1 - level) / 2
    low = float(special.betaincinv(hits, count - hits + 1, tail)) if hits else 0.0
    high = float(special.betaincinv(hits + 1, count - hits, 1 - tail)) if hits < count else 1.0
    return Interval(low, high)
