"""From the records of a search to one row a trial: what was tried, what it scored on the dev rows, what it cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from bench.records.store import Record

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    *("digest", "method", "task", "model", "k", "search", "trials", "draw", "axis", "value", "values", "status"),
    *("reason", "headline", "score", "train_time_s", "wall_time_s", "train_flops_per_example", "examples"),
)


def without_trials(records: Iterable[Record]) -> list[Record]:
    """The runs that are scored on the test rows."""
    return [record for record in records if not record.asked.is_trial]


def trials_of(records: Iterable[Record]) -> list[Record]:
    """The trials of searches."""
    return [record for record in records if record.asked.is_trial]


def trial_frame(records: Sequence[Record]) -> pd.DataFrame:
    """One row a trial, in the order in which they were drawn.

    `score` is the headline's on the dev rows of the checkpoint that they chose; missing where the trial failed. `value`
    is that of `axis`, the first searched hyper-parameter with a range; `values` holds all of them. `draw` counts from
    0; from `trials` on the trial lies beyond an end of the range, because the choice among the first ones stood there.
    """
    import pandas as pd

    rows = [row for record in trials_of(records) if (row := _row(record)) is not None]
    order = ["model", "k", "task", "method", "search", "draw"]
    frame: pd.DataFrame = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values(order, ignore_index=True)
    return frame


def _row(record: Record) -> dict[str, Any] | None:
    run, search, result = record.asked, record.asked.search, record.result
    if search is None:
        return None
    axis = next((name for name, fields in search.space.items() if not fields.get("choices")), None)
    figures = {} if result is None or result.costs is None else result.costs.figures
    dev = None if result is None else result.dev_scores
    return {
        "digest": record.digest,
        "method": run.method.label,
        "task": run.task.label,
        "model": run.model.name,
        "k": "all" if run.k is None else str(run.k),
        "search": search.number,
        "trials": search.trials,
        "draw": search.draw,
        "axis": axis,
        "value": None if axis is None else run.method.fields[axis],
        "values": {name: run.method.fields[name] for name in search.space},
        "status": record.status,
        "reason": record.reason,
        "headline": None if result is None else result.headline,
        "score": None if result is None or dev is None else dev.get(result.headline),
        "train_time_s": None if result is None else result.train_time_s,
        "wall_time_s": record.wall_time_s,
        "train_flops_per_example": figures.get("train_flops_per_example"),
        "examples": None if result is None else result.train_examples,
    }
