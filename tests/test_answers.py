"""What buys most: the cheapest that may equal the best, its cost in a readable unit, and the gap."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest

from benchmarks.records import profile, records
from reports.answers import answers
from reports.estimates import Estimate, estimate_of
from reports.frame import frame
from reports.panels import OVERALL, Panel, panels
from reports.words import Leader, leader


def panel(**settings: object) -> Panel:
    (found,) = panels(frame(records(**settings), {"minilm-l6": profile()}))  # type: ignore[arg-type]
    return found


def test_the_cheapest_is_among_those_that_may_equal_the_best() -> None:
    one = panel(seeds=5)
    found = leader(one)
    assert found is not None
    able = [found.method, *found.close]
    costs = {method: one.costs[method, OVERALL]["stored_bytes"].mean for method in able}
    cheapest = min(costs, key=lambda method: costs[method])
    row = answers(one).rows[0]
    assert [cell.text for cell in row[:2]] == ["bytes stored", cheapest]
    assert row[2].text == "194 kB"
    if cheapest != found.method:
        gap, (low, high) = found.gaps[cheapest]
        scores = one.scores
        assert gap == pytest.approx(scores[cheapest, OVERALL].mean - scores[found.method, OVERALL].mean)
        assert low <= gap <= 0 <= high
        assert row[3].text == f"{gap:+.3f} [{low:+.3f}, {high:+.3f}]"


class Scores:
    """As much of a panel as the choice of a leader reads."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.methods, self.arrays, self.places, self.sums_up = tuple(arrays), arrays, ("trec",), False
        self.seeds = len(next(iter(arrays.values())))
        estimates = {method: estimate_of(array) for method, array in arrays.items()}
        self.scores = {(method, "trec"): one for method, one in estimates.items() if one is not None}


def led(arrays: dict[str, np.ndarray]) -> Leader | None:
    return leader(cast(Panel, Scores(arrays)))


def test_equal_methods_are_seldom_told_from_the_best() -> None:
    """The best is chosen by the scores that it is then compared by: at most 5% of tables may name a worse one."""
    generator, wrong, draws = np.random.default_rng(0), 0, 600
    for _ in range(draws):
        found = led({name: generator.normal(size=(5, 1)) for name in "abcdef"})
        assert found is not None
        wrong += len(found.close) < 5
    assert wrong / draws <= 0.05


def test_a_method_of_one_lucky_run_is_not_the_best() -> None:
    lucky = np.array([[0.99], [np.nan], [np.nan]])
    found = led({"lucky": lucky, "steady": np.array([[0.5], [0.6], [0.7]])})
    assert found is not None
    assert (found.method, found.untested) == ("steady", ("lucky",))


def test_gaps_without_spread_tell_nothing() -> None:
    scores = np.array([[0.5], [0.6]])
    found = led({"a": scores, "b": scores - 0.01, "same": scores.copy()})
    assert found is not None
    assert (found.close, found.untested) == (("same",), ("b",))


def test_a_small_cost_has_a_unit_of_its_own() -> None:
    one = panel(methods=["head", "full"], tasks=["trec"], seeds=2)
    found = leader(one)
    assert found is not None
    assert (found.method, list(found.close)) == ("full", ["head"]), "two seeds tell nothing apart"
    one.costs["full", "trec"]["stored_bytes"] = Estimate(2.5e3, 2)
    one.costs["head", "trec"]["stored_bytes"] = Estimate(5.53e3, 2)
    cost = answers(one).rows[0][2].text
    assert cost == "2.50 kB"


def test_what_was_not_measured_is_said() -> None:
    rows = {row[0].text: row[1].text for row in answers(panel()).rows}
    assert rows["joules of training"] == "not measured"
