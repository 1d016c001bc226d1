"""Against the best: by hand, against compare_pairs, and how often what it says is false."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.coverage import Setting
from benchmarks.coverage import _experiment as experiment
from reports.stats import best
from reports.stats.comparisons import compare_pairs
from reports.stats.moderation import half_width, pair_spread


def named(cube: np.ndarray) -> dict[str, np.ndarray]:
    return {str(at): scores for at, scores in enumerate(cube)}


def test_one_that_is_best_by_far_and_a_tie() -> None:
    low, high = best.constrained([[0, 3, 4], [-3, 0, 1], [-4, -1, 0]], np.ones((3, 3)))
    assert low.tolist() == [0, -4, -5], "the best by far has nothing above it; the rest are measured against it"
    assert high.tolist() == [4, 0, 0]
    low, high = best.constrained(np.zeros((2, 2)), np.ones((2, 2)))
    assert (low.tolist(), high.tolist()) == ([-1, -1], [1, 1])


def test_two_methods_have_a_one_sided_interval_and_agree_with_all_pairs() -> None:
    generator = np.random.default_rng(0)
    scores = {"a": 0.82 + 0.01 * generator.normal(size=(5, 2)), "b": 0.8 + 0.01 * generator.normal(size=(5, 2))}
    rows = best.against_best(scores)
    spread = pair_spread(np.stack(list(scores.values())), np.array([0]), np.array([1]))
    gap = float((scores["a"] - scores["b"]).mean())
    assert rows["a"].difference == pytest.approx(gap)
    interval = rows["b"].interval
    assert interval is not None
    assert interval.low == pytest.approx(-gap - half_width(spread, 0.9)[0])
    told = compare_pairs(scores)["a", "b"].differs
    assert rows["b"].beaten_by == (("a",) if told else ())
    assert rows["a"].beaten_by == ()


def test_little_measured_is_open_not_equal() -> None:
    equal = {name: np.array([[0.8], [0.81]]) for name in "abc"}
    few = best.against_best(equal, resolution=1 / 100)
    assert all(row.open for row in few.values()), "two seeds that agree are not equivalence"
    many = {name: 0.8 + 0.003 * np.random.default_rng(at).normal(size=(20, 1)) for at, name in enumerate("abc")}
    assert all(row.as_good and not row.worse for row in best.against_best(many).values())
    one_seed = best.against_best({name: [[0.8]] for name in "ab"})
    assert all(row.open and row.interval is None and row.difference == 0 for row in one_seed.values())
    absent = best.against_best({**many, "d": np.full((20, 1), np.nan)})
    assert absent["d"].difference is None
    assert absent["d"].open
    assert absent["a"] == best.against_best(many)["a"]
    with pytest.raises(ValueError, match="margin -1"):
        best.against_best(many, margin=-1)


@pytest.mark.parametrize(
    "setting",
    [Setting(5, 1, 500), Setting(3, 2, 500, shared=0.5), Setting(5, 1, 500, 10.0, one_noisy=True)],
)
def test_false_statements_are_rare(setting: Setting) -> None:
    """The last method is worse than the rest by just more than the margin; 400 experiments, an error of 1.1%."""
    generator = np.random.default_rng(1)
    margin, last = 0.01, str(setting.methods - 1)
    wrong = missed = wrong_margin = 0
    for _ in range(400):
        cube, _ = experiment(setting, generator)
        equal = best.against_best(named(cube), margin=margin, resolution=1 / setting.rows)
        wrong += any(row.worse for row in equal.values())
        missed += not equal[last].may_be_best
        cube[-1] -= margin
        wrong_margin += best.against_best(named(cube), margin=margin, resolution=1 / setting.rows)[last].as_good
    assert wrong / 400 <= 0.05 + 0.022
    assert wrong_margin / 400 <= 0.05 + 0.022
    assert missed / 400 <= 0.05 + 0.022
