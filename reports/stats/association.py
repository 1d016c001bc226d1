"""What a gate goes with: rank correlations with the example's length, loss, correctness and label."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from reports.stats.comparisons import holm
from reports.stats.intervals import LEVEL, Interval

if TYPE_CHECKING:
    import pandas as pd

COVARIATES = ("length", "loss", "correct", "label")
Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Association:
    """One gate against one property of the examples of one task.

    Attributes:
        covariate: its name; `label=NAME` for one class of several against the rest.
        given: what was held constant (a partial rank correlation), such as `length`; None: nothing.
        correlation: Spearman's, averaged over the runs by Fisher's z; None where the gate or the
            covariate does not vary.
        interval: None with fewer than two runs in which it is defined.
        p_value: of no correlation over runs and examples; None where there is no interval.
        p_adjusted: corrected for all the tests made together.
        runs: in which it is defined.
        examples: in a run.
    """

    task: str
    layer: int | str
    part: str
    covariate: str
    given: str | None
    correlation: float | None
    interval: Interval | None
    p_value: float | None
    p_adjusted: float | None
    runs: int
    examples: int


def associations(
    frame: pd.DataFrame,
    *,
    covariates: Sequence[str] = COVARIATES,
    numeric_labels: Collection[str] = (),
    given: str | None = None,
    correction: Literal["holm", "fdr_bh"] = "holm",
    level: float = LEVEL,
) -> tuple[Association, ...]:
    """Rank correlation of every gate with every covariate, task by task, over examples within runs.

    A run is one trained model. Both seeds and examples are taken as samples: the variance of the mean z is
    the runs' own over their number, plus Bonett and Wright's (1 + r^2 / 2) / (n - 3) for the examples
    (Psychometrika 65, 2000), which all runs share; degrees of freedom by Satterthwaite. That counts a
    little twice, so false alarms stay below the level: measured at 2, 3 and 5 seeds, 0 to 1.4% of tests at
    5%; intervals cover 95 to 97%.

    Args:
        frame: columns value, task, seed, layer, part, example and the covariates asked for; a covariate
            that is absent in some row of a task is left out for that task.
        covariates: columns to correlate each gate with.
        numeric_labels: tasks whose labels are numbers (regression). Other labels are classes: two are
            one 0/1 covariate (in sorted order), more are one covariate each against the rest.
        given: a numeric column to hold constant; it is not itself correlated then.
        correction: Holm's, or Benjamini and Hochberg's of the false discovery rate.
        level: of the intervals.

    Raises:
        ValueError: if a column is missing or a run lacks a gate of an example.
    """
    needed = {"value", "task", "seed", "layer", "part", "example", *covariates, *([given] if given else [])}
    if missing := needed - set(frame.columns):
        raise ValueError(f"gate values lack the columns {', '.join(sorted(missing))}")
    wanted = [name for name in covariates if name != given]
    rows: list[Association] = []
    for task, of_task in frame.groupby("task", sort=True):
        present = [name for name in wanted if of_task[name].notna().all()]
        nominal = "label" in present and task not in numeric_labels
        classes = tuple(np.unique(of_task["label"])) if nominal else ()
        runs = of_task.groupby("seed", sort=True)
        tables = [_correlations(run, present, classes, given) for _, run in runs]
        names, gates = tables[0][1], tables[0][2]
        if any(list(table[1]) != list(names) or list(table[2]) != list(gates) for table in tables):
            raise ValueError(f"task {task}: its runs do not have the same gates")
        stacked = np.stack([table[0] for table in tables])  # (runs, covariates, gates)
        examples = of_task["example"].nunique()
        for i, name in enumerate(names):
            for j, (layer, part) in enumerate(gates):
                summary = _summary(stacked[:, i, j], examples=examples, held=given is not None, level=level)
                rows.append(
                    Association(
                        task=str(task),
                        layer=layer,
                        part=part,
                        covariate=name,
                        given=given,
                        examples=examples,
                        p_adjusted=None,
                        **summary,
                    )
                )
    return _corrected(rows, correction)


def _correlations(
    run: pd.DataFrame, covariates: Sequence[str], classes: Sequence[Any], given: str | None
) -> tuple[Array, list[str], list[tuple[Any, Any]]]:
    """Spearman's correlations in one run: (covariates, gates), NaN if undefined, with both axes' names."""
    gates = run.pivot(index="example", columns=["layer", "part"], values="value").sort_index(axis=1)
    if gates.isna().any(axis=None):
        named = f"task {run['task'].iloc[0]}, seed {run['seed'].iloc[0]}"
        raise ValueError(f"{named}: an example lacks a gate's value")
    examples = run.drop_duplicates("example").set_index("example").loc[gates.index]
    columns: dict[str, Array] = {}
    for name in covariates:
        values = examples[name].to_numpy()
        if name != "label" or not classes:
            columns[name] = values.astype(np.float64)
        elif len(classes) == 2:
            columns[name] = (values == classes[1]).astype(np.float64)
        else:
            columns.update({f"label={label}": (values == label).astype(np.float64) for label in classes})
    theirs = _standard_ranks(np.array(list(columns.values())).reshape(len(columns), len(gates)).T)
    ours = _standard_ranks(gates.to_numpy(dtype=np.float64))
    table: Array = theirs.T @ ours
    if given is not None:
        third = _standard_ranks(examples[[given]].to_numpy(dtype=np.float64))
        covariate, gate = theirs.T @ third, third.T @ ours
        left = np.sqrt(np.maximum(0, 1 - covariate**2)) * np.sqrt(np.maximum(0, 1 - gate**2))
        # What `given` explains wholly leaves nothing to correlate.
        table = (table - covariate * gate) / np.where(left > 1e-9, left, np.nan)
    return np.clip(table, -1, 1), list(columns), list(gates.columns)


def _standard_ranks(values: Array) -> Array:
    """Ranks down each column, ties at their mean, centred and of length 1; NaN where nothing varies."""
    ranks = stats.rankdata(values, axis=0)
    ranks = ranks - ranks.mean(axis=0)
    lengths = np.linalg.norm(ranks, axis=0)
    unit: Array = ranks / np.where(lengths > 0, lengths, np.nan)
    return unit


def _summary(correlations: Array, *, examples: int, held: bool, level: float) -> dict[str, Any]:
    """The mean correlation over runs with interval and p value, as fields of `Association`."""
    known = correlations[~np.isnan(correlations)]
    fields: dict[str, Any] = {"correlation": None, "interval": None, "p_value": None, "runs": len(known)}
    if len(known) == 0:
        return fields
    z = np.arctanh(np.clip(known, -1 + 1e-9, 1 - 1e-9))
    centre = float(z.mean())
    fields["correlation"] = float(np.tanh(centre)) if len(known) > 1 else float(known[0])
    freedom = examples - 3 - held
    if len(known) == 1 or freedom < 1:
        return fields
    of_runs = float(z.var(ddof=1)) / len(known)
    of_examples = (1 + np.tanh(centre) ** 2 / 2) / freedom
    variance = of_runs + of_examples
    degrees = variance**2 / (of_runs**2 / (len(known) - 1) + of_examples**2 / freedom)
    half = float(stats.t.ppf((1 + level) / 2, degrees) * np.sqrt(variance))
    fields["interval"] = Interval(float(np.tanh(centre - half)), float(np.tanh(centre + half)))
    fields["p_value"] = float(2 * stats.t.sf(abs(centre) / np.sqrt(variance), degrees))
    return fields


def _corrected(rows: Sequence[Association], correction: str) -> tuple[Association, ...]:
    """The rows with p values corrected over all that were tested."""
    p_values = [row.p_value for row in rows]
    if correction == "holm":
        adjusted = holm(p_values)
    else:
        tested = [p for p in p_values if p is not None]
        remaining = iter(stats.false_discovery_control(tested, method="bh") if tested else ())
        adjusted = [None if p is None else float(next(remaining)) for p in p_values]
    return tuple(replace(row, p_adjusted=p) for row, p in zip(rows, adjusted, strict=True))
