"""The tables of a gate study. Each is a frame and one sentence on what it shows and does not show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.association import associations
from reports.comparisons import Comparison, compare
from reports.gate_values import GateValues
from reports.gates.frames import Study
from reports.stats import Interval, mean_interval
from reports.variance import Decomposition, decompose

if TYPE_CHECKING:
    import pandas as pd

LEARNED = "learned"
NO_SPREAD = "One seed: no interval and no verdict."


@dataclass(frozen=True)
class GateTable:
    """A table: its file's name, its rows, and what it shows and does not show."""

    name: str
    says: str
    rows: pd.DataFrame


def gate_tables(study: Study) -> Iterator[GateTable]:
    """All tables that the study allows."""
    for make in (means, variance, value_and_effect, correlations, interventions, retrained, effective_counts):
        table = make(study)
        if table is not None and len(table.rows):
            yield table


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
    overlap = decomposition(study, "value")
    tail = (
        ""
        if overlap is None or overlap.length_overlap is None
        else (
            f" {overlap.length_overlap:.0%} of the examples have a length that every task has; where that is low, task and "
            "length cannot be told apart."
        )
    )
    says = (
        "Share of the variance of gate values that goes with task, seed, layer, part, example and their interactions, "
        "with 95% intervals that resample whole runs; then with the example's length held constant. It says what values "
        f"go with, not what the gates are good for, and nothing of other tasks.{tail}"
        f"{'' if study.seeds > 1 else ' ' + NO_SPREAD}"
    )
    return GateTable("variance", says, pd.DataFrame(rows)) if rows else None


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
                if group["value"].nunique() > 1 and group[effect].nunique() > 1:
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
        "expects, both would be clearly positive. Few gates a run make each correlation coarse."
    )
    return GateTable("value_and_effect", says, pd.DataFrame(rows))


def _mean_of(found: list[float]) -> tuple[float | None, float | None]:
    interval = mean_interval(np.array(found)[:, None])
    return (None, None) if interval is None else (max(-1.0, interval.low), min(1.0, interval.high))


def correlations(study: Study) -> GateTable:
    """Rank correlation of each gate with length, loss, correctness and label over examples."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    frame = study.values.copy()
    for given in (None, "length"):
        found = associations(frame, numeric_labels=study.regressions, given=given)
        for row in found:
            low, high = row.interval or (None, None)
            rows.append(
                {"task": row.task, "layer": row.layer, "part": row.part, "with": row.covariate, "given": row.given or "",
                 "spearman": row.correlation, "low": low, "high": high, "p_adjusted": row.p_adjusted}
            )  # fmt: skip
    says = (
        "Spearman's rank correlation of a gate with the example's length, loss, correctness and label, over examples within "
        "runs, with 95% intervals and Holm's correction over all tests of a kind; then with length held constant. A "
        "correlation is no cause."
    )
    return GateTable("correlations", says, pd.DataFrame(rows))


def interventions(study: Study) -> GateTable | None:
    """Scores under each intervention against the learned gates, paired over seeds and tasks."""
    scores = study.acts.groupby(["intervention", "task", "seed"])["score"].first()
    says = (
        "Score of the trained model with other gate values in place of the learned ones, without retraining, on the first "
        "test rows, paired with learned over seeds and tasks. A model is trained together with its gates, so a fall shows "
        "that they are relied on, not that gating was worth training."
    )
    return _compared(study, "interventions", says, _by_name(scores), LEARNED)


def retrained(study: Study) -> GateTable | None:
    """Test scores of retrained variants against the studied method, paired over seeds and tasks."""
    import pandas as pd

    rows = [
        {
            "name": label,
            "task": r.asked.task.label,
            "seed": r.asked.model_seed,
            "score": r.result.test_scores.get(r.result.headline),
        }
        for label, runs in study.ablations().items()
        for r in runs
        if r.result is not None
    ]
    frame = pd.DataFrame(rows).dropna()
    if frame.empty or frame["name"].nunique() < 2:
        return None
    says = (
        f"Test score of the same method trained with other settings against {study.method}, paired over seeds and tasks: "
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
        rows.append(_row(place, baseline, float(np.nanmean(table[baseline])), None))
        for found in compare(table, baseline, generator=np.random.default_rng(0)):
            rows.append(_row(place, found.method, float(np.nanmean(table[found.method])), found))
    return GateTable(name, says if study.seeds > 1 else f"{says} {NO_SPREAD}", pd.DataFrame(rows))


def _row(place: str, name: str, score: float, found: Comparison | None) -> dict[str, Any]:
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


def effective_counts(study: Study) -> GateTable | None:
    """Effective parameters of the studied runs and of the retrained variants."""
    import pandas as pd

    rows = []
    for label, runs in study.ablations().items():
        for record in runs:
            result = record.result
            if result is None or result.effective is None:
                continue
            found = result.effective
            rows.append(
                {"method": label, "task": record.asked.task.label, "seed": record.asked.model_seed,
                 "stored": result.stored_parameters, "soft": found.soft_parameters, "active_0.1": found.active_parameters,
                 "contributing_0.01": found.contributing_parameters, "verified": found.verified_parameters,
                 "verified_score_change": found.verified_test_change}
            )  # fmt: skip
    if not rows:
        return None
    results = [record.result for runs in study.ablations().values() for record in runs if record.result is not None]
    known = {r.effective.verified_epsilon for r in results if r.effective is not None}
    within = " or ".join(str(epsilon) for epsilon in sorted(e for e in known if e is not None)) or "epsilon"
    says = (
        "Stored parameters beside four counts of what does something (docs/definitions.md); means over seeds. verified is "
        f"what was left after parts were really removed within {within} of the dev score; its change is that of the test score."
    )
    frame = pd.DataFrame(rows).drop(columns="seed").groupby(["method", "task"]).mean(numeric_only=True)
    return GateTable("effective", says, frame.reset_index())
