"""How far each method may fall short of the best one, where the best is not known but is among those compared.

With mu(i) the mean score of method i, the parameter is mu(i) less the greatest mu(j) of the other methods: positive for
the best method, negative for the rest. Hsu's multiple comparisons with the best (Hsu, Annals of Statistics 12, 1984;
Multiple Comparisons, 1996, chapter 4) gives an interval for each i such that all hold together with probability
`level`, though the best method is chosen from the same data. With g(i, j) the estimated difference i less j and
c(i, j) its one-sided critical value times its standard error:

    high(i) = max(0, min over j of g(i, j) + c(i, j))
    best    = the i with high(i) > 0: one of these is the best method
    low(i)  = min(0, min over j in best, j != i, of g(i, j) - c(i, j)); 0 where i is the only one in best

If the true best method k is not underestimated against any other, g(k, j) >= mu(k) - mu(j) - c(k, j) for all j, then
every statement holds: k is in `best`, and no mu(i) is below mu(k) + low(i). That is one-sided and about M - 1 pairs,
where comparing all pairs takes M (M - 1) / 2 two-sided statements: hence the greater power to show that a method is as
good as the best. That a method is not in `best` says that it is not better than all others; of eight equal methods
that is true of each, and it is said of some in 5 to 22% of experiments. So "worse" is said only where all pairs,
compared as `reports.stats.comparisons.compare_pairs` does, tell the method from one above it.

Differences are paired by seed and task, and their variances moderated over the pairs (`reports.stats.moderation`). The
critical value is Student's t with Bonferroni's correction for M - 1. Of 3 and 8 equal methods at 2 to 5 seeds, some of
them 4 or 10 times as noisy as the rest, `best` then lacks a given one in 1.1 to 4.6% of experiments; with Dunnett's
critical value, which Hsu takes and which assumes one common variance, in 3 to 6.4%.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reports.stats.intervals import LEVEL, Interval, as_scores, mean
from reports.stats.moderation import half_width, pair_spread

MARGIN = 0.01
"""The difference in score that makes no difference in practice, unless a reader sets another."""


@dataclass(frozen=True, kw_only=True)
class AgainstBest:
    """A method against the best of the others, in the unit of the score.

    Attributes:
        method: its name.
        difference: its mean less the greatest mean of the others, as measured; None without scores.
        interval: of the true one. It contains 0: its low end says how much worse than the best method this one may
            be, its high end how much better than the next one. None where nothing has an interval: one seed.
        margin: the difference that makes none in practice.
        beaten_by: the methods that score higher, told apart when all pairs are compared together.
    """

    method: str
    difference: float | None
    interval: Interval | None
    margin: float
    beaten_by: tuple[str, ...] = ()

    @property
    def as_good(self) -> bool:
        """Whether it is shown to be at least as good as the best method, less the margin."""
        return self.interval is not None and self.interval.low >= -self.margin

    @property
    def worse(self) -> bool:
        """Whether another method is shown to be better. It may still be `as_good`: worse by less than the margin."""
        return bool(self.beaten_by)

    @property
    def may_be_best(self) -> bool:
        """Whether it is one of those of which one is the best; of one without an interval nothing else is known."""
        return self.interval is None or self.interval.high > 0

    @property
    def open(self) -> bool:
        """Whether neither is shown: too little was measured to call it as good as the best, or worse."""
        return not self.as_good and not self.worse


def against_best(
    scores: Mapping[str, ArrayLike],
    *,
    margin: float = MARGIN,
    resolution: ArrayLike = 0.0,
    still: Collection[str] = (),
    span: float = np.inf,
    level: float = LEVEL,
) -> dict[str, AgainstBest]:
    """Compares every method of one place with the best of the others, paired by seed and task.

    The intervals hold together with probability `level`, and with them all of `as_good` and `may_be_best`; so do, by
    themselves, all of `beaten_by`. Methods without a score on every task are left out, and have no difference.

    Args:
        scores: by method, all of one shape (seeds, tasks), rows and columns meaning the same run.
        margin: the difference that makes none in practice.
        resolution: the step of each task's scores, one over its test rows; 0 where it is not known.
        still: methods that train nothing.
        span: the greatest difference that two scores can have: no interval reaches beyond it.
        level: of all statements together.

    Raises:
        ValueError: the margin is negative, or no number.

    Examples:
        >>> scores = {"full": [[0.81], [0.8], [0.82]], "lora": [[0.81], [0.81], [0.82]], "head": [[0.6], [0.61], [0.6]]}
        >>> rows = against_best(scores, margin=0.03, resolution=1 / 500)
        >>> [(name, row.as_good, row.worse) for name, row in rows.items()]
        [('full', True, False), ('lora', True, False), ('head', False, True)]
        >>> [row.open for row in against_best(scores, margin=0.0001, resolution=1 / 500).values()]
        [True, True, False]
    """
    if not margin >= 0:
        raise ValueError(f"margin {margin}: give 0 or more")
    arrays = {name: as_scores(of_method) for name, of_method in scores.items()}
    names = [name for name, array in arrays.items() if mean(array) is not None]
    rows = {name: AgainstBest(method=name, difference=None, interval=None, margin=margin) for name in scores}
    if len(names) < 2:
        return rows
    cube = np.stack([arrays[name] for name in names])
    size = len(names)
    first, second = np.triu_indices(size, 1)
    spread = pair_spread(cube, first, second, resolution, np.array([name in still for name in names]))
    # A one-sided interval of level p is half of the two-sided one of level 2 p - 1.
    halves = half_width(spread, 1 - 2 * (1 - level) / (size - 1))
    gaps, widths = np.zeros((2, size, size))
    apart = half_width(spread, 1 - (1 - level) / max(1, int((spread.variances > 0).sum())))  # as `compare_pairs` has it
    centres = np.array([mean(gap) for gap in cube[first] - cube[second]], dtype=float)  # None becomes NaN
    gaps[first, second], gaps[second, first] = centres, -centres
    widths[first, second] = widths[second, first] = np.where(np.isnan(halves), np.inf, halves)
    beaten = np.zeros((size, size), dtype=bool)
    beaten[first, second], beaten[second, first] = centres < -apart, centres > apart
    gaps[np.isnan(gaps)] = 0.0  # of runs that share no seed nothing is known: the width is infinite
    low, high = constrained(gaps, widths)
    others = np.where(np.eye(size, dtype=bool), np.inf, gaps).min(axis=1)
    for at, name in enumerate(names):
        ends = Interval(float(low[at]), float(high[at]))
        interval = None if np.isinf(ends).all() else ends.within(-span, span)
        rows[name] = AgainstBest(
            method=name,
            difference=float(others[at]),
            interval=interval,
            margin=margin,
            beaten_by=tuple(names[other] for other in np.flatnonzero(beaten[at])),
        )
    return rows


def constrained(gaps: ArrayLike, widths: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Hsu's constrained intervals, (..., M) low and high, from all pairs.

    Args:
        gaps: (..., M, M) mean of the method of the row less that of the column.
        widths: (..., M, M) the critical value times the standard error of each.

    Examples:
        >>> low, high = constrained([[0, 0.25, 0.5], [-0.25, 0, 0.25], [-0.5, -0.25, 0]], np.full((3, 3), 0.375))
        >>> low.tolist(), high.tolist()
        ([-0.125, -0.625, -0.875], [0.625, 0.125, 0.0])
    """
    gap, width = np.asarray(gaps, dtype=float), np.asarray(widths, dtype=float)
    itself = np.eye(gap.shape[-1], dtype=bool)
    high = np.maximum(0, np.where(itself, np.inf, gap + width).min(axis=-1))
    candidate = (high > 0)[..., None, :] & ~itself
    low = np.minimum(0, np.where(candidate, gap - width, np.inf).min(axis=-1))
    return low, high
