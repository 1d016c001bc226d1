"""What buys most: the cheapest that may equal the best, its cost in a readable unit, and the gap."""

from __future__ import annotations

import pytest

from benchmarks.records import profile, records
from reports.answers import answers
from reports.estimates import Estimate
from reports.frame import frame
from reports.panels import OVERALL, Panel, panels
from reports.words import leader


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
    assert row[2].text.endswith(" MB")
    if cheapest != found.method:
        gap, (low, high) = found.gaps[cheapest]
        scores = one.scores
        assert gap == pytest.approx(scores[cheapest, OVERALL].mean - scores[found.method, OVERALL].mean)
        assert low <= gap <= 0 <= high
        assert row[3].text == f"{gap:+.3f} [{low:+.3f}, {high:+.3f}]"


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
