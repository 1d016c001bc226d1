"""The tables of what searches found and cost, and what is said of a tuned comparison."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.records import records
from benchmarks.tuned_records import tuned_records
from reports.frame.frame import frame
from reports.frame.panels import panels
from reports.report import Report
from reports.tables.budget import budget, budget_sentence
from reports.tables.table import Table
from reports.tables.tuning import tuning_tables

METHODS = ["majority", "full", "lora", "prefix"]
ONE = tuned_records(methods=METHODS, tasks=["trec"], searches=1, seeds=5)


def cell(table: Table, row: str, column: str) -> str:
    at = [head.text for head in table.header].index(column)
    return next(cells[at].text for cells in table.rows if cells[0].text == row)


def test_the_tables_of_a_search() -> None:
    (panel,) = panels(frame(ONE))
    choice, ease, cost = tuning_tables(panel, ONE)
    assert max(len(table.header) for table in (choice, ease, cost)) <= 8
    trials = [r for r in ONE if r.asked.is_trial and r.asked.method.label == "prefix"]
    scores = [r.result.dev_scores["accuracy"] for r in trials if r.result and r.result.dev_scores]
    assert "majority" not in [row[0].text for row in choice.rows]
    assert cell(choice, "prefix", "trials") == "1 x 12 + 5"
    assert cell(choice, "prefix", "failed") == str(len(trials) - len(scores))
    assert cell(choice, "prefix", "best on dev") == f"{max(scores):.3f}"
    chosen = next(r for r in ONE if not r.asked.is_trial and r.asked.method.label == "prefix")
    assert cell(choice, "prefix", "chosen") == f"learning_rate {chosen.asked.method.fields['learning_rate']:.2g}"
    floor = panel.scores["majority", "trec"].mean
    first = [r.result.dev_scores["accuracy"] if r.result and r.result.dev_scores else floor for r in trials[:12]]
    assert cell(ease, "prefix", "best of 1") == f"{np.mean(first):.3f}"
    assert cell(ease, "prefix", "best of 12") == f"{max(first):.3f}"
    assert cell(cost, "lora", "FLOPs in all / full") == f"{cost.rows[-2][-1].value:.3f}"
    assert cell(cost, "full", "FLOPs in all / full") == "1.000"
    assert cell(cost, "majority", "trials") == "0"
    assert any("no hardware counter" in note for note in cost.notes)


@pytest.mark.parametrize(("searches", "says"), [(1, "at the settings chosen here"), (5, "are of the methods")])
def test_methods_are_spoken_of_only_where_each_seed_has_a_search(searches: int, says: str) -> None:
    made = tuned_records(methods=METHODS, tasks=["trec"], searches=searches, seeds=5)
    (section,) = Report(records=made).sections
    assert [table.key for table in section.tables[-3:]] == ["tuning", "tuning-ease", "tuning-cost"]
    assert says in section.sure[-1]
    assert section.headline[1].startswith("At the settings chosen here: ") == (searches == 1)


def test_the_budget_counts_trials_once_each() -> None:
    (panel,) = panels(frame(ONE))
    trials = sum(record.asked.is_trial for record in ONE)
    assert f"chosen among {trials} trials" in budget_sentence(panel)
    assert "no tuning trials" not in budget_sentence(panel)
    assert cell(budget(panel), "prefix", "settings tried") == "17"
    assert cell(budget(panel), "majority", "settings tried") == "1"


def test_a_panel_without_a_search_has_no_such_table() -> None:
    made = records(seeds=2)
    (panel,) = panels(frame(made))
    assert tuning_tables(panel, made) == []
