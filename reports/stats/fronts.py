"""Pareto fronts: the methods that no other method beats in score and cost at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pareto_front(scores: ArrayLike, costs: ArrayLike) -> NDArray[np.bool_]:
    """Marks the points that no other point dominates: a higher score, a lower cost.

    A point dominates another if it is not worse in either and better in one; equal points do not dominate each
    other. A point without a score or a cost (None, NaN) is off the front and dominates no other.

    Args:
        scores: (points,), higher is better.
        costs: (points,), lower is better.

    Returns:
        (points,), True on the front.

    >>> pareto_front([0.9, 0.8, 0.7], [10, 5, 7])  # the third costs more than the second and scores less
    array([ True,  True, False])
    """
    score, cost = np.asarray(scores, dtype=np.float64), np.asarray(costs, dtype=np.float64)
    if score.ndim != 1 or score.shape != cost.shape:
        raise ValueError(f"scores {score.shape} and costs {cost.shape} need one shape, (points,)")
    front = np.zeros(len(score), dtype=np.bool_)
    complete = np.flatnonzero(~(np.isnan(score) | np.isnan(cost)))
    # Sorted by cost, and by falling score where costs are equal: only an earlier point can dominate a later one.
    best, best_cost = -np.inf, np.inf
    for point in complete[np.lexsort((-score[complete], cost[complete]))]:
        if score[point] > best or (score[point] == best and cost[point] == best_cost):
            front[point] = True
            best, best_cost = score[point], cost[point]
    return front
