"""Rank correlations of gates with the length, loss, correctness and label of the examples."""

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
    """The rank correlation of one gate with one property of the examples of one task.

    Attributes:
        covariate: the name of the property; `label=NAME` is one class against the rest, where there are several.
        given: the property held constant (a partial rank correlation), such as `length`; None for none.
        correlation: Spearman's, averaged over the runs by Fisher's z; None where the gate or the
            covariate does not vary.
        interval: for the correlation; None with fewer than two runs in which it is defined.
        p_value: for the hypothesis of no correlation; None where there is no interval.
        p_adjusted: corrected for all the tests made together.
        runs: number of runs in which the correlation is defined.
        examples: number of examples in a run.
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

    A run is one trained model. Seeds and examples are both samples. The correlations r are averaged over runs as
    Fisher's z. The variance of the mean z is the variance of z over runs divided by their number, plus
    (1 + r^2 / 2) / (n - 3) for the n examples, which all runs share (Bonett and Wright, Psychometrika 65, 2000). The
    degrees of freedom are Satterthwaite's. The variance over runs already holds some of that of the examples, so the
    tests are conservative: simulated at 2, 3 and 5 seeds, 0 to 1.4% of tests at 5% are false alarms, and intervals
    cover 95 to 97%.

    Args:
        frame: columns value, task, seed, layer, part, example and the covariates asked for; a covariate
            that is absent in some row of a task is left out for that task.
        covariates: columns to correlate each gate with.
        numeric_labels: tasks whose labels are numbers (regression). Other labels are classes: two are
            one 0/1 covariate (in sorted order), more are one covariate each against the rest.
        given: a numeric column to hold constant; it is then left out of `covariates`.
        correction: `holm`, or `fdr_bh` for the false discovery rate of Benjamini and Hochberg.
        level: of the intervals.

    Raises:
        ValueError: a column is missing, or a run lacks the value of a gate for an example.
    """
    needed = {"value", "task", "seed", "layer", "part", "example", *covariates, *([given] if given else [])}
    if missing := needed - set(frame.columns):
        raise ValueError(f"gate values lack the columns {', '.join(sorted(missing))}")
    wanted = [name for name in covariates if name != given]
    rows: list[Association] = []
    for task, task_rows in frame.groupby("task", sort=True):
        present = [name for name in wanted if task_rows[name].notna().all()]
        nominal = "label" in present and task not in numeric_labels
        classes = tuple(np.unique(task_rows["label"])) if nominal else ()
        runs = task_rows.groupby("seed", sort=True)
        tables = [_correlations(run, present, classes, given) for _, run in runs]
        names, gates = tables[0][1], tables[0][2]
        if any(list(table[1]) != list(names) or list(table[2]) != list(gates) for table in tables):
            raise ValueError(f"task {task}: its runs do not have the same gates")
        stacked = np.stack([table[0] for table in tables])  # (runs, covariates, gates)
        examples = task_rows["example"].nunique()
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
    """Spearman's correlations in one run, (covariates, gates), NaN where undefined; then the names along both axes."""
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
    # Pearson's correlation of ranks is Spearman's: a product of columns of mean 0 and length 1.
    covariate_ranks = _standard_ranks(np.array(list(columns.values())).reshape(len(columns), len(gates)).T)
    gate_ranks = _standard_ranks(gates.to_numpy(dtype=np.float64))
    table: Array = covariate_ranks.T @ gate_ranks
    if given is not None:
        third = _standard_ranks(examples[[given]].to_numpy(dtype=np.float64))
        covariate, gate = covariate_ranks.T @ third, third.T @ gate_ranks
        left = np.sqrt(np.maximum(0, 1 - covariate**2)) * np.sqrt(np.maximum(0, 1 - gate**2))
        # The formula of the partial correlation; NaN where `given` explains a gate or covariate completely.
        table = (table - covariate * gate) / np.where(left > 1e-9, left, np.nan)
    return np.clip(table, -1, 1), list(columns), list(gates.columns)


def _standard_ranks(values: Array) -> Array:
    """The ranks of each column (ties share their mean), centred and scaled to length 1; NaN where nothing varies."""
    ranks = stats.rankdata(values, axis=0)
    ranks = ranks - ranks.mean(axis=0)
    lengths = np.linalg.norm(ranks, axis=0)
    unit: Array = ranks / np.where(lengths > 0, lengths, np.nan)
    return unit


def _summary(correlations: Array, *, examples: int, held: bool, level: float) -> dict[str, Any]:
    """The mean correlation over runs with interval and p value, as fields of `Association`."""
    defined = correlations[~np.isnan(correlations)]
    fields: dict[str, Any] = {"correlation": None, "interval": None, "p_value": None, "runs": len(defined)}
    if len(defined) == 0:
        return fields
    z = np.arctanh(np.clip(defined, -1 + 1e-9, 1 - 1e-9))
    centre = float(z.mean())
    fields["correlation"] = float(np.tanh(centre)) if len(defined) > 1 else float(defined[0])
    freedom = examples - 3 - held
    if len(defined) == 1 or freedom < 1:
        return fields
    from_runs = float(z.var(ddof=1)) / len(defined)
    from_examples = (1 + np.tanh(centre) ** 2 / 2) / freedom
    variance = from_runs + from_examples
    degrees = variance**2 / (from_runs**2 / (len(defined) - 1) + from_examples**2 / freedom)
    half = float(stats.t.ppf((1 + level) / 2, degrees) * np.sqrt(variance))
    fields["interval"] = Interval(float(np.tanh(centre - half)), float(np.tanh(centre + half)))
    fields["p_value"] = float(2 * stats.t.sf(abs(centre) / np.sqrt(variance), degrees))
    return fields


def _corrected(rows: Sequence[Association], correction: str) -> tuple[Association, ...]:
    """The rows with p values corrected for the number of tests."""
    p_values = [row.p_value for row in rows]
    if correction == "holm":
        adjusted = holm(p_values)
    else:
        tested = [p for p in p_values if p is not None]
        remaining = iter(stats.false_discovery_control(tested, method="bh") if tested else ())
        adjusted = [None if p is None else float(next(remaining)) for p in p_values]
    return tuple(replace(row, p_adjusted=p) for row, p in zip(rows, adjusted, strict=True))
