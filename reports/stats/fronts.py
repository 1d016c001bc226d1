"""Pareto fronts: which methods no other one beats in score and cost at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pareto_front(scores: ArrayLike, costs: ArrayLike) -> NDArray[np.bool_]:
    """Marks the points that no other point dominates: a higher score, a lower cost.

    A point dominates another if it is nowhere worse and somewhere better; equal points do not
    dominate each other. What lacks its score or cost (None, NaN) is off the front and beats nothing.

    Args:
        scores: (points,), higher is better.
        costs: (points,), lower is better.

    Returns:
        (points,), True on the front.
    """
    score, cost = np.asarray(scores, dtype=np.float64), np.asarray(costs, dtype=np.float64)
    if score.ndim != 1 or score.shape != cost.shape:
        raise ValueError(f"scores {score.shape} and costs {cost.shape} need one shape, (points,)")
    front = np.zeros(len(score), dtype=np.bool_)
    known = np.flatnonzero(~(np.isnan(score) | np.isnan(cost)))
    # Cheapest first, at one cost the best first: a point is beaten only by one that stands before it.
    best, best_cost = -np.inf, np.inf
    for point in known[np.lexsort((-score[known], cost[known]))]:
        if score[point] > best or (score[point] == best and cost[point] == best_cost):
            front[point] = True
            best, best_cost = score[point], cost[point]
    return front
