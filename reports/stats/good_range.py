"""How easy is a method to tune: how wide is the range of learning rates that are within a margin of its best?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from reports.stats.best import MARGIN
from reports.stats.intervals import LEVEL, Interval


@dataclass(frozen=True, kw_only=True)
class GoodRange:
    """The rates around the best trial whose score is within the margin of it; widths are in decades, log10.

    Attributes:
        low: its least rate: where the line through the trials crosses the margin, or the outermost trial.
        high: its greatest.
        width: log10(high / low).
        least: the width that trials show: between the outermost ones of the run of good trials around the best.
        most: the width to the first trial on either side that is not good; infinite where there is none.
        open_low: whether all trials below the best are good: the range goes on beyond what was tried.
        open_high: whether all above are.
        good: how many trials, anywhere, are within the margin.
        share: the share of random draws that are within the margin of the best trial: a Clopper-Pearson interval.
            It takes no neighbourhood and no line for granted, only that the draws are independent.
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


def good_range(rates: ArrayLike, scores: ArrayLike, *, margin: float = MARGIN, level: float = LEVEL) -> GoodRange:
    """The range of good rates around the best trial, from the scores joined by straight lines over log10 of the rate.

    Between two trials the score is interpolated, so `width` lies between `least` and `most`, which are what the trials
    show without a line. At the edge of what was tried nothing is extrapolated: the range ends at the outermost trial,
    and `at_least` says so.

    The best trial is the greatest of noisy scores and the margin is counted from it, so noise makes ranges look narrow:
    `python -m benchmarks.decisions` prints by how much. Compare widths only at the same trials and dev rows.

    Args:
        rates: (n,) of the trials, above 0.
        scores: (n,) on dev; a failed trial has the floor's score.
        margin: below the best trial, in the unit of the score.
        level: of the interval of the share.

    Raises:
        ValueError: shapes differ, there is no trial, a rate is not above 0, a score not finite, or the margin negative.

    Examples:
        >>> found = good_range([1e-4, 1e-3, 1e-2, 1e-1], [0.25, 0.5, 0.5, 0.25], margin=0.125)
        >>> round(found.width, 6), round(found.least, 6), round(found.most, 6), found.at_least
        (2.0, 1.0, 3.0, False)
        >>> round(good_range([1e-4, 1e-3, 1e-2], [0.25, 0.5, 0.5], margin=0.125).width, 6)
        1.5
    """
    speed, height = np.asarray(rates, dtype=float), np.asarray(scores, dtype=float)
    if speed.ndim != 1 or speed.shape != height.shape or not len(speed):
        raise ValueError(f"rates of shape {speed.shape}, scores of {height.shape}: give one of each a trial")
    if not (speed > 0).all() or not np.isfinite(speed).all() or not np.isfinite(height).all() or not margin >= 0:
        raise ValueError("a rate is not above 0, a score not finite, or the margin negative")
    order = np.lexsort((height, speed))
    places, height = np.log10(speed[order]), height[order]
    best = int(height.argmax())
    line = height[best] - margin
    good = height >= line
    left = _run(good, best, -1)
    right = _run(good, best, +1)
    open_low, open_high = left == 0, right == len(good) - 1
    low = places[left] if open_low else _crossing(places, height, left, left - 1, line)
    high = places[right] if open_high else _crossing(places, height, right, right + 1, line)
    outer_low = -np.inf if open_low else places[left - 1]
    outer_high = np.inf if open_high else places[right + 1]
    return GoodRange(
        low=float(10**low),
        high=float(10**high),
        width=float(high - low),
        least=float(places[right] - places[left]),
        most=float(outer_high - outer_low),
        open_low=open_low,
        open_high=open_high,
        good=int(good.sum()),
        share=clopper_pearson(int(good.sum()), len(good), level=level),
    )


def _run(good: np.ndarray, start: int, step: int) -> int:
    """The last of the good trials that follow one another from the start on."""
    at = start
    while 0 <= at + step < len(good) and good[at + step]:
        at += step
    return at


def _crossing(places: np.ndarray, height: np.ndarray, inside: int, outside: int, line: float) -> float:
    """Where the straight line from a good trial to its bad neighbour falls below the line."""
    drop = height[inside] - height[outside]
    part = (height[inside] - line) / drop
    return float(places[inside] + part * (places[outside] - places[inside]))


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
