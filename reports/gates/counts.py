"""How much of what a method stores does something, for every method of the comparison: tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bench.records.store import Effective, Record
from reports.gates.frames import Study
from reports.gates.table import ONE_SEED, GateTable
from reports.stats.intervals import mean_interval

COUNTS: dict[str, Callable[[Effective], float | None]] = {
    "soft": lambda found: found.soft_parameters,
    "active(0.1)": lambda found: found.active_parameters,
    "contributing(0.01)": lambda found: found.contributing_parameters,
    "verified": lambda found: found.verified_parameters,
}
"""Estimated counts of parameters, by the name that the table gives them."""


def effective_counts(study: Study) -> GateTable | None:
    """Trained, stored and effective parameters of every method, the latter with intervals over seeds."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for label, task, runs, effective in _groups(study):
        results = [run.result for run in runs if run.result is not None]
        stored = float(np.mean([result.stored_parameters for result in results]))
        place = {"method": label, "task": task}
        trained = float(np.mean([result.trained_parameters for result in results]))
        rows += [{**place, "figure": "trained", "mean": trained}, {**place, "figure": "stored", "mean": stored}]
        for name, count in COUNTS.items():
            rows.append({**place, "figure": name} | _estimate([count(one) for one in effective], low=0, high=stored))
        of_kept = [None if e.verified_parameters is None else float(len(e.verified_parts)) for e in effective]
        parts = max(one.parts for one in effective)
        rows.append({**place, "figure": f"verified parts of {parts}"} | _estimate(of_kept, low=0, high=parts))
        changes = [one.verified_test_change for one in effective]
        rows.append({**place, "figure": "verified: test score change"} | _estimate(changes))
        shared = [one.participation_ratio for one in effective]
        if any(ratio is not None for ratio in shared):
            gates = max(len(one.gates) for one in effective)
            rows.append({**place, "figure": f"participation ratio of {gates}"} | _estimate(shared, low=1, high=gates))
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


def _tested(study: Study) -> str:
    """On what rows the removals were tested."""
    known = _with_verified(study)
    of_dev = sum(one.verified_on == "half of dev" for one in known)
    shown = "shown at 95% on rows that had no part in choosing what was removed"
    if not of_dev:
        return shown
    return f"{shown} ({of_dev} of {len(known)} runs: on half of the dev rows, which had chosen the checkpoint)"


def _with_verified(study: Study) -> list[Effective]:
    """The runs' figures where a verified count is among them, of methods with parts."""
    return [e for *_, found in _groups(study) for e in found if e.parts and e.verified_parameters is not None]


def idle_figures(study: Study) -> GateTable | None:
    """What else is known to idle: LoRA's effective rank, dead bottleneck units, biases that did not move."""
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
    """Method, task, its runs whose effective parameters were measured, and these."""
    for label, runs in study.methods().items():
        for task in study.tasks:
            own = [r for r in runs if r.asked.task.label == task and r.result is not None and r.result.effective]
            if own:
                found = [r.result.effective for r in own if r.result is not None and r.result.effective is not None]
                yield label, task, own, found


def _estimate(figures: list[float | None], *, low: float = -np.inf, high: float = np.inf) -> dict[str, Any]:
    """Mean over the runs where it is known, its interval, and how many these are."""
    known = np.array([figure for figure in figures if figure is not None], dtype=float)
    if not len(known):
        return {"mean": None, "low": None, "high": None, "runs": 0}
    interval = mean_interval(known[:, None])
    ends = (None, None) if interval is None else (max(low, interval.low), min(high, interval.high))
    return {"mean": float(known.mean()), "low": ends[0], "high": ends[1], "runs": len(known)}


def _at(study: Study, says: str) -> str:
    return says if study.seeds > 1 else f"{says} {ONE_SEED}"
