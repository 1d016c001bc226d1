"""Pareto fronts: by hand, and against the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.stats.fronts import pareto_front


def test_front_by_hand() -> None:
    #          best  cheap  beaten  equal to best  no cost  no score
    scores = [0.9, 0.5, 0.5, 0.9, 0.99, None]
    costs = [10.0, 1.0, 2.0, 10.0, None, 0.0]
    assert pareto_front(scores, costs).tolist() == [True, True, False, True, False, False]


def test_same_score_the_cheaper_stays_and_same_cost_the_better() -> None:
    assert pareto_front([1, 1], [2, 3]).tolist() == [True, False]
    assert pareto_front([1, 2], [2, 2]).tolist() == [False, True]
    assert pareto_front([], []).tolist() == []
    with pytest.raises(ValueError, match="one shape"):
        pareto_front([1, 2], [1])


VALUES = st.one_of(st.integers(-3, 3).map(float), st.just(float("nan")))


@given(st.lists(st.tuples(VALUES, VALUES), max_size=12))
def test_front_is_what_nothing_dominates(points: list[tuple[float, float]]) -> None:
    scores, costs = ([point[i] for point in points] for i in (0, 1))

    def dominates(a: tuple[float, float], b: tuple[float, float]) -> bool:
        return a[0] >= b[0] and a[1] <= b[1] and a != b

    expected = [not np.isnan(b).any() and not any(dominates(a, b) for a in points) for b in points]
    assert pareto_front(scores, costs).tolist() == expected
