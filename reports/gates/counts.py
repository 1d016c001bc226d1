"""Tables of effective parameters: how many of the parameters that each method stores do something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bench.records.store import Effective, Record
from reports.gates.frames import Study
from reports.gates.table import ONE_SEED, GateTable
from reports.stats.intervals import mean_interval

COUNTS: dict[str, Callable[[Effective], float | None]] = {
    "soft": lambda effective: effective.soft_parameters,
    "active(0.1)": lambda effective: effective.active_parameters,
    "contributing(0.01)": lambda effective: effective.contributing_parameters,
    "verified": lambda effective: effective.verified_parameters,
}
"""Name of a count in the table -> the count of one run."""


def effective_counts(study: Study) -> GateTable | None:
    """The table of trained, stored and effective parameters of every method, the last with intervals over seeds."""
    import pandas as pd

    rows = [
        {"method": label, "task": task, "figure": figure, **estimate}
        for label, task, runs, effective in _groups(study)
        for figure, estimate in _figures(runs, effective)
    ]
    if not rows:
        return None
    epsilons = {e.verified_epsilon for e in _with_verified(study) if e.verified_epsilon is not None}
    within = " or ".join(map(str, sorted(epsilons))) or "epsilon"
    says = (
        "Trained and stored parameters beside four counts of what does something (docs/definitions.md), without the "
        "head: means over seeds with 95% t intervals, cut to what is possible. verified is what was left after parts "
        f"were really removed with a fall of accuracy within {within}, {_tested(study)}; "
        "that other sets of parts would do is not ruled out."
    )
    frame = pd.DataFrame(rows).astype({"runs": "Int64"})
    return GateTable("effective", _at(study, says), frame[frame["mean"].notna()])


def _figures(runs: list[Record], effective: list[Effective]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The figures of one method on one task: name, and its estimate over seeds.

    Args:
        runs: finished runs, one for each seed.
        effective: their effective counts.
    """
    results = [run.result for run in runs if run.result is not None]
    stored = float(np.mean([result.stored_parameters for result in results]))
    yield "trained", {"mean": float(np.mean([result.trained_parameters for result in results]))}
    yield "stored", {"mean": stored}
    for name, count in COUNTS.items():
        yield name, _estimate([count(one) for one in effective], low=0, high=stored)
    parts = max(one.parts for one in effective)
    # A run without a verified count has an empty list of verified parts, which is not the same as none left.
    kept = [None if one.verified_parameters is None else float(len(one.verified_parts)) for one in effective]
    yield f"verified parts of {parts}", _estimate(kept, low=0, high=parts)
    yield "verified: test score change", _estimate([one.verified_test_change for one in effective])
    ratios = [one.participation_ratio for one in effective]
    if any(ratio is not None for ratio in ratios):
        gates = max(len(one.gates) for one in effective)
        yield f"participation ratio of {gates}", _estimate(ratios, low=1, high=gates)


def _tested(study: Study) -> str:
    """A phrase on the rows that tested the removals."""
    effective = _with_verified(study)
    of_dev = sum(one.verified_on == "half of dev" for one in effective)
    shown = "shown at 95% on rows that had no part in choosing what was removed"
    if not of_dev:
        return shown
    return f"{shown} ({of_dev} of {len(effective)} runs: on half of the dev rows, which had chosen the checkpoint)"


def _with_verified(study: Study) -> list[Effective]:
    """The effective counts of the runs that have a verified count, for methods with parts."""
    return [e for *_, effective in _groups(study) for e in effective if e.parts and e.verified_parameters is not None]


def idle_figures(study: Study) -> GateTable | None:
    """The table of `Method.idle`: effective rank of LoRA, dead bottleneck units, biases that did not move."""
    import pandas as pd

    rows = [
        {"method": label, "task": task, "figure": name}
        | _estimate([one.idle.get(name) for one in effective], low=0, high=1 if name.endswith("_share") else np.inf)
        for label, task, _, effective in _groups(study)
        for name in sorted(set().union(*(one.idle for one in effective)))
    ]
    says = (
        "What else is known to idle in the trained methods: means over seeds with 95% t intervals. "
        "An idle unit costs parameters and work; that it could have been left out of training is not shown."
    )
    return GateTable("idle", _at(study, says), pd.DataFrame(rows)) if rows else None


def _groups(study: Study) -> Iterator[tuple[str, str, list[Record], list[Effective]]]:
    """For each method and task: both labels, the runs with effective counts, and these counts."""
    for label, runs in study.methods().items():
        for task in study.tasks:
            measured = [r for r in runs if r.asked.task.label == task and r.result is not None and r.result.effective]
            if measured:
                effective = [
                    r.result.effective for r in measured if r.result is not None and r.result.effective is not None
                ]
                yield label, task, measured, effective


def _estimate(figures: list[float | None], *, low: float = -np.inf, high: float = np.inf) -> dict[str, Any]:
    """Mean and interval over the runs that have the figure, and their number; the interval is cut to low and high."""
    known = np.array([figure for figure in figures if figure is not None], dtype=float)
    if not len(known):
        return {"mean": None, "low": None, "high": None, "runs": 0}
    interval = mean_interval(known[:, None])
    ends = (None, None) if interval is None else (max(low, interval.low), min(high, interval.high))
    return {"mean": float(known.mean()), "low": ends[0], "high": ends[1], "runs": len(known)}


def _at(study: Study, says: str) -> str:
    return says if study.seeds > 1 else f"{says} {ONE_SEED}"
