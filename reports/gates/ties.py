"""What gates are tied to, and whether their values go with what their parts do: tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from reports.gates.frames import Study
from reports.gates.table import ONE_SEED, GateTable
from reports.stats.association import associations
from reports.stats.gate_values import GateValues
from reports.stats.intervals import mean_interval
from reports.stats.variance import Decomposition, decompose

FEWEST_GATES = 3
"""A rank correlation over fewer is 1 or -1 whatever happens."""


def means(study: Study) -> GateTable:
    """Mean gate by task, layer and part."""
    grouped = study.values.groupby(["task", "layer", "part"])
    per_seed = study.values.groupby(["task", "layer", "part", "seed"])["value"].mean()
    spread = per_seed.groupby(["task", "layer", "part"]).std(ddof=1)
    rows = grouped.agg(
        mean=("value", "mean"), mean_padded=("value_padded", "mean"), low=("value", "min"), high=("value", "max")
    )
    rows.insert(1, "std_over_seeds", spread)
    says = (
        "Mean gate on the test rows by task, layer and part, under the masked mean and under the released code's mean "
        "over padding; low and high are the extremes over examples. A gate's value alone does not say how much its "
        "part does: its scale is not identifiable."
    )
    return GateTable("means", says, rows.reset_index())


def variance(study: Study) -> GateTable | None:
    """Shares of the variance of gate values: raw, length held, and under the padded mean."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    found = None
    for mean, column in (("masked", "value"), ("padded", "value_padded")):
        found = decomposition(study, column)
        if found is None:
            continue
        for kind, shares in (("raw", found.raw), ("length held", found.length_held or ())):
            for share in shares:
                low, high = share.interval or (None, None)
                rows.append(
                    {"mean": mean, "kind": kind, "term": share.term, "share": share.share, "low": low, "high": high}
                )
    says = (
        "Share of the variance of gate values that goes with task, seed, layer, part, example and their interactions, "
        "with 95% intervals that resample whole runs; then with the example's length held constant. It says what values "
        f"go with, not what the gates are good for, and nothing of other tasks.{_overlap_said(found)}"
        f"{'' if study.seeds > 1 else ' ' + ONE_SEED}"
    )
    return GateTable("variance", says, pd.DataFrame(rows)) if rows else None


def _overlap_said(found: Decomposition | None) -> str:
    """How far lengths and tasks can be told apart at all."""
    if found is None or found.length_overlap is None:
        return ""
    return (
        f" {found.length_overlap:.0%} of the examples have a length that every task has; where that is low, task and "
        "length cannot be told apart."
    )


def decomposition(study: Study, column: str) -> Decomposition | None:
    """Variance shares of one kind of gate value; None where it does not vary."""
    frame = study.values.drop(columns="value").rename(columns={column: "value"}) if column != "value" else study.values
    gates = GateValues.from_frame(frame)
    if max(float(np.ptp(values)) for values in gates.values) == 0:
        return None
    return decompose(gates, generator=np.random.default_rng(0))


def value_and_effect(study: Study) -> GateTable:
    """Rank correlation of a gate's mean value with what its part does, within and across layers, in each run."""
    import pandas as pd
    from scipy import stats

    per_gate = study.effects.groupby(["task", "seed", "part", "layer"])[["value", "contribution", "loss_change"]].mean()
    rows: list[dict[str, Any]] = []
    for effect in ("contribution", "loss_change"):
        for scope, keys in (
            ("across layers, within a part", ["task", "seed", "part"]),
            ("across all gates of a run", ["task", "seed"]),
        ):
            runs: dict[tuple[str, str], list[float]] = {}
            for key, group in per_gate.groupby(keys):
                if len(group) >= FEWEST_GATES and group["value"].nunique() > 1 and group[effect].nunique() > 1:
                    part = str(key[2]) if len(keys) > 2 else "all"
                    runs.setdefault((str(key[0]), part), []).append(
                        float(stats.spearmanr(group["value"], group[effect])[0])
                    )
            for (task, part), found in sorted(runs.items()):
                interval = _mean_of(found)
                rows.append(
                    {"effect": effect, "scope": scope, "task": task, "part": part, "spearman": float(np.mean(found)),
                     "low": interval[0], "high": interval[1], "runs": len(found)}
                )  # fmt: skip
    says = (
        "Spearman's rank correlation, run by run, of a gate's mean value with its part's contribution |y - y0| / |y0| and "
        "with the change of the loss when the part is removed; mean over seeds with a 95% t interval. Were gates what one "
        f"expects, both would be clearly positive. Few gates a run make each correlation coarse; under {FEWEST_GATES} "
        f"there is none.{'' if study.seeds > 1 else ' ' + ONE_SEED}"
    )
    return GateTable("value_and_effect", says, pd.DataFrame(rows))


def _mean_of(found: list[float]) -> tuple[float | None, float | None]:
    """The t interval over runs; none where all agree to the digit, for then their spread is not known."""
    interval = mean_interval(np.array(found)[:, None])
    if interval is None or len(set(found)) == 1:
        return None, None
    return max(-1.0, interval.low), min(1.0, interval.high)


def correlations(study: Study) -> GateTable:
    """Rank correlation of each gate with length, loss, correctness and label over examples."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for given in (None, "length"):
        found = associations(study.values, numeric_labels=study.regressions, given=given)
        for row in found:
            low, high = row.interval or (None, None)
            rows.append(
                {"task": row.task, "layer": row.layer, "part": row.part, "with": row.covariate, "given": row.given or "",
                 "spearman": row.correlation, "low": low, "high": high, "p_adjusted": row.p_adjusted}
            )  # fmt: skip
    says = (
        "Spearman's rank correlation of a gate with the example's length, loss, correctness and label, over examples in "
        "runs, with 95% intervals and Holm's correction over all tests of a kind; then with length held constant. A "
        f"correlation is no cause.{'' if study.seeds > 1 else ' ' + ONE_SEED}"
    )
    return GateTable("correlations", says, pd.DataFrame(rows))
