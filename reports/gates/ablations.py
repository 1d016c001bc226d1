"""Ablations: other gate values in the trained model, and the method trained anew with other gates. Tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.gates.frames import Study, seed_name
from reports.gates.table import ONE_SEED, GateTable
from reports.stats.comparisons import Comparison, compare
from reports.stats.intervals import Interval, mean
from reports.stats.paired import paired_interval

if TYPE_CHECKING:
    import pandas as pd

LEARNED = "learned"


def interventions(study: Study) -> GateTable | None:
    """Scores and losses under each intervention against the learned gates, paired."""
    scores = study.acts.groupby(["intervention", "task", "seed"])["score"].first()
    says = (
        "Score of the trained model with other gate values in place of the learned ones, without retraining, on the drawn "
        "test rows, paired with learned over seeds and tasks (its interval takes the rows as given); and the change of the "
        "loss, paired over examples and seeds (its interval takes both as samples). A model is trained together with its "
        "gates, so a fall shows that they are relied on, not that gating was worth training. p_adjusted is Holm's over "
        "sign-flip tests of the score: over n pairs none is below 2 / 2^n, so few seeds on one task can show nothing by it."
    )
    table = _compared(study, "interventions", says, _by_name(scores), LEARNED)
    if table is None:
        return None
    changes = loss_changes(study)
    return GateTable(table.name, table.says, table.rows.merge(changes, on=["task", "gates"], how="left"))


def loss_changes(study: Study) -> pd.DataFrame:
    """Mean change of the loss under each intervention on each task, with its interval.

    Losses of several tasks have no common unit, so there is no row for all of them.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for task, of_task in study.acts.groupby("task"):
        wide = of_task.pivot(index=["intervention", "seed"], columns="example", values="loss")
        for name in sorted(set(of_task["intervention"]) - {LEARNED}):
            change = (wide.loc[name] - wide.loc[LEARNED]).dropna(how="all").to_numpy(dtype=float)  # (seeds, examples)
            interval = paired_interval(change)
            low, high = interval or (None, None)
            rows.append(
                {"task": task, "gates": name, "loss_change": float(change.mean()), "loss_low": low, "loss_high": high}
            )
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def retrained(study: Study) -> GateTable | None:
    """Test scores of retrained variants against the studied method, paired over seeds and tasks."""
    import pandas as pd

    rows = [
        {
            "name": label,
            "task": r.asked.task.label,
            "seed": seed_name(r),
            "score": r.result.test_scores.get(r.result.headline),
        }
        for label, runs in study.variants().items()
        for r in runs
        if r.result is not None
    ]
    frame = pd.DataFrame(rows).dropna()
    if frame.empty or frame["name"].nunique() < 2:
        return None
    says = (
        f"Test score of the same method trained with other settings against {study.method}, paired over seeds and tasks; "
        "this is the ablation that says whether gating was worth training."
    )
    return _compared(
        study, "retrained", says, _by_name(frame.groupby(["name", "task", "seed"])["score"].first()), study.method
    )


def _by_name(scores: pd.Series[Any]) -> dict[str, pd.DataFrame]:
    """Seeds by tasks for each name, all of one shape."""
    table = scores.unstack(level=1)  # (name, seed) x task
    names = sorted(set(table.index.get_level_values(0)))
    seeds = sorted(set(table.index.get_level_values(1)))
    return {str(name): table.loc[name].reindex(seeds) for name in names}


def _compared(study: Study, name: str, says: str, scores: Mapping[str, Any], baseline: str) -> GateTable | None:
    """A row for each name and place: score, difference to the baseline, interval, corrected p."""
    import pandas as pd

    if baseline not in scores or len(scores) < 2:
        return None
    known = list(next(iter(scores.values())).columns)
    places = {task: [task] for task in study.tasks if task in known}
    if len(places) > 1:
        places["all tasks"] = list(places)
    rows = []
    for place, tasks in places.items():
        table = {key: frame[tasks].to_numpy(dtype=float) for key, frame in scores.items()}
        table = {key: values for key, values in table.items() if not np.isnan(values).all()}
        if baseline not in table:
            continue
        rows.append(_row(place, baseline, mean(table[baseline]), None))
        for found in compare(table, baseline, generator=np.random.default_rng(0)):
            rows.append(_row(place, found.method, mean(table[found.method]), found))
    return GateTable(name, says if study.seeds > 1 else f"{says} {ONE_SEED}", pd.DataFrame(rows))


def _row(place: str, name: str, score: float | None, found: Comparison | None) -> dict[str, Any]:
    interval: Interval | None = None if found is None else found.interval
    return {
        "task": place,
        "gates": name,
        "score": score,
        "difference": None if found is None else found.difference,
        "low": None if interval is None else interval.low,
        "high": None if interval is None else interval.high,
        "p_adjusted": None if found is None else found.p_adjusted,
    }
