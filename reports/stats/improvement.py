"""How often a run of one method beats a run of another: the probability of improvement."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from reports.stats.intervals import LEVEL, Interval, as_scores, seeds_per_task


def probability_of_improvement(scores: ArrayLike, baseline: ArrayLike) -> float | None:
    """P(a run of ours > a run of theirs) + half P(equal), averaged over tasks; None if one lacks runs.

    Seeds are not paired: Mann-Whitney's U over the number of pairs (Agarwal et al., NeurIPS 2021).
    """
    ours, theirs = as_scores(scores), as_scores(baseline)
    if min(seeds_per_task(ours).min(), seeds_per_task(theirs).min()) == 0:
        return None
    steps = np.sign(ours[:, None] - theirs[None])  # (our seeds, their seeds, tasks)
    return float(np.nanmean(steps, axis=(0, 1)).mean() / 2 + 0.5)


def improvement_interval(scores: ArrayLike, baseline: ArrayLike, *, level: float = LEVEL) -> Interval | None:
    """A score interval for the probability of improvement, never of zero width.

    Newcombe's method 5 (Statistics in Medicine 25, 2006, p. 559) with variances averaged over tasks: the
    probabilities p at which the estimate lies within z sqrt(V(p)). A bootstrap gives [1, 1] wherever
    one method won every time. Measured at 5 seeds by 4 tasks, 0 to 3 spreads apart: it covers 95 to 98%.
    """
    estimate = probability_of_improvement(scores, baseline)
    ours, theirs = seeds_per_task(scores), seeds_per_task(baseline)
    if estimate is None or min(ours.min(), theirs.min()) < 2:
        return None
    z = float(special.ndtri((1 + level) / 2))

    def excess(p: float) -> float:
        """How far p lies from the estimate beyond z standard errors."""
        tails = (1 - p) / (2 - p) + p / (1 + p)
        variances = p * (1 - p) * (1 + ((ours + theirs) / 2 - 1) * tails) / (ours * theirs)
        return abs(p - estimate) - z * float(np.sqrt(variances.sum())) / len(ours)

    # The variance vanishes at 0 and 1, and `excess` with it where the estimate is there: step inside.
    low = optimize.brentq(excess, 0, min(estimate, 1 - 1e-9)) if estimate > 0 else 0.0
    high = optimize.brentq(excess, max(estimate, 1e-9), 1) if estimate < 1 else 1.0
    return Interval(float(low), float(high))
