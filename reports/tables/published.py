"""Published figures beside measured ones where task, K and model match, else named as not comparable."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from reports.columns.numerals import ABSENT
from reports.frame.estimates import Estimate
from reports.frame.panels import Panel
from reports.frame.published import PAPER, not_comparable, published_scores
from reports.tables.table import Cell, Head, Table

if TYPE_CHECKING:
    import pandas as pd


def published_table(panels: list[Panel]) -> Table | None:
    """Makes a table of measured scores beside published ones.

    A task of the paper whose K or model does not match is named in the notes as not comparable.

    Returns:
        None if nothing was measured on a task of the paper.
    """
    published = published_scores()
    rows, notes = [], []
    for panel, task, reason in _cells(panels):
        if reason is not None:
            if task.startswith("glue/"):
                notes.append(f"Not comparable: {reason}.")
            continue
        k = panel.fixed["k"]
        same = published[
            (published["task"] == task) & (published["k"].isna() if k == "all" else published["k"] == int(k))
        ]
        metric = panel.headlines.get(task)
        for method in panel.methods:
            measured, printed = panel.scores.get((method, task)), same[same["method"] == method]
            if measured is None or printed.empty:
                continue
            if printed.iloc[0]["metric"] != metric:
                notes.append(f"Not comparable: {task}: the paper has {printed.iloc[0]['metric']}, here it is {metric}.")
                break
            rows.append(_row(task, k, method, measured, printed.iloc[0]))
    if not rows and not notes:
        return None
    notes = [
        f"Published: {PAPER}, Tables 1 and 3, BERT-base uncased. K runs: mean ± deviation over five seeds of "
        "its own subsets; all rows: one run, its checkpoint chosen on the rows it is scored on.",
        *dict.fromkeys(notes),
    ]
    heads = (
        Head("task", numeric=False),
        Head("K"),
        Head("method", numeric=False),
        Head("measured (%)", "Mean ± standard deviation over seeds, here."),
        Head("published (%)", "Mean ± standard deviation over seeds, as printed."),
        Head("seeds, here / published"),
    )
    return Table("published", "Measured beside published scores", heads, tuple(rows), tuple(notes))


def _cells(panels: list[Panel]) -> Iterator[tuple[Panel, str, str | None]]:
    """Each panel's tasks, and why one has no published figure."""
    for panel in panels:
        for task in panel.columns if panel.by == "task" else ():
            k = panel.fixed["k"]
            size = None if k == "all" else int(k)
            yield panel, task, not_comparable(task=task, k=size, backbone=panel.fixed["model"])


def _row(task: str, k: str, method: str, measured: Estimate, published: pd.Series[str]) -> tuple[Cell, ...]:
    import pandas as pd

    spread = f" ± {100 * measured.std:.2f}" if measured.std is not None else ""
    printed = float(published["score_percent"])
    deviation = f" ± {float(published['std_percent']):.2f}" if pd.notna(published["std_percent"]) else ""
    return (
        Cell(task, task),
        Cell(k, int(k) if k.isdigit() else None),
        Cell(method, method),
        Cell(f"{100 * measured.mean:.2f}{spread}", measured.mean),
        Cell(f"{printed:.2f}{deviation}" if printed == printed else ABSENT, printed),
        Cell(f"{measured.runs} / {published['seeds']}"),
    )
