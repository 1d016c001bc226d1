"""What the searches of a comparison found and cost."""

from __future__ import annotations

from collections.abc import Sequence

from bench.records.store import Record
from reports.columns.numerals import significant
from reports.frame.trials import trial_frame
from reports.tables.table import NOTHING, Cell, Head, Table


def search_table(records: Sequence[Record]) -> Table:
    """The best trial of each search: its values, its dev score, and what all its trials took."""
    trials = trial_frame(records)
    heads = (
        Head("method", "The method.", numeric=False),
        Head("task", "The task.", numeric=False),
        Head("K", "Training rows."),
        Head("search", "Its number; each has other draws and training rows."),
        Head("trials", "How many values were tried, those beyond an end of the range among them."),
        Head("failed", "Trials that ended in an error or without a score."),
        Head("best", "The values of the best trial.", numeric=False),
        Head("dev score", "Its score on the dev rows, which flatters: it is the highest of all."),
        Head("seconds", "From start to end of all its trials."),
    )
    rows = []
    for _, cell in trials.groupby(["method", "task", "k", "search"], sort=False):
        first, number = cell.iloc[0], int(cell["search"].iloc[0])
        scored = cell.dropna(subset="score")
        wall = float(cell["wall_time_s"].sum())
        found: tuple[Cell, Cell] = (NOTHING, NOTHING)
        if len(scored):
            best = scored.loc[scored["score"].idxmax()]
            values = ", ".join(f"{name} {value:g}" for name, value in best["values"].items())
            found = (Cell(values, values), Cell(f"{best['score']:.3f}", float(best["score"])))
        rows.append(
            (
                *(Cell(str(text), str(text)) for text in (first["method"], first["task"], first["k"])),
                Cell(str(number), number),
                Cell(str(len(cell)), len(cell)),
                Cell(str(len(cell) - len(scored)), len(cell) - len(scored)),
                *found,
                Cell(significant(wall), wall),
            )
        )
    return Table("searches", "Searches", heads, tuple(rows), ())
