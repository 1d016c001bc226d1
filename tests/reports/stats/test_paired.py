"""The interval of a difference paired over examples and runs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from reports.stats.paired import paired_interval


def test_by_hand() -> None:
    # Two runs of means 1 and 3 (variance 2 / 2 = 1); four examples of mean 2 each (no variance): t with 1 degree.
    found = paired_interval(np.array([[1.0, 1, 1, 1], [3, 3, 3, 3]]))
    assert found is not None
    half = stats.t.ppf(0.975, 1)
    assert found == pytest.approx((2 - half, 2 + half))
    assert paired_interval(np.full((2, 3), 0.5)) is None, "no spread tells nothing of the spread"


def test_one_run_has_none() -> None:
    assert paired_interval(np.arange(5.0)[None]) is None
    assert paired_interval(np.arange(5.0)[:, None]) is None


def test_it_covers_less_where_few_examples_change_as_the_docstring_says() -> None:
    rng, hits, draws = np.random.default_rng(3), 0, 1500
    for _ in range(draws):
        changed = rng.random((1, 60)) < 0.1
        values = changed * (1 + rng.normal(size=(1, 60))) + 0.1 * changed * rng.normal(size=(2, 60))
        found = paired_interval(values)
        hits += found is not None and found.low <= 0.1 <= found.high
    assert 0.84 <= hits / draws <= 0.91, hits


@pytest.mark.parametrize("runs", [2, 3, 5])
def test_it_covers_the_planted_mean(runs: int) -> None:
    rng = np.random.default_rng(runs)
    hits = 0
    for _ in range(400):
        values = 0.3 + 0.2 * rng.normal(size=(runs, 1)) + rng.normal(size=(1, 60)) + 0.5 * rng.normal(size=(runs, 60))
        found = paired_interval(values)
        assert found is not None
        hits += found.low <= 0.3 <= found.high
    assert hits / 400 >= 0.93, hits
