"""The summary in sentences: what buys most, whether that is more than noise, what is missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.cells import Cell, Head, Table
from reports.columns import GROUPS
from reports.comparisons import ALPHA, paired_differences
from reports.figures.pareto import front_keys, front_members
from reports.indices import KNOWN
from reports.notes import energy_notes, joined
from reports.numerals import scale_of, written
from reports.panels import Panel
from reports.stats import mean_interval

QUESTIONS = {
    "stored_bytes": "per byte stored",
    "stored_parameters": "per parameter stored",
    "train_flops_per_example": "per FLOP of training",
    "train_live_bytes": "per byte of training memory",
    "train_step_ratio": "per second of training (interleaved)",
    "infer_ratio": "per second of inference (interleaved)",
    "train_energy_measured_joules": "per joule of training",
}
"""Costs that the summary answers for, each in the words of its question."""

EXPECTED = ("flops", "memory", "time", "energy", "effective")


@dataclass(frozen=True)
class Leader:
    """The method of the highest mean, and those that the seeds cannot tell from it.

    Attributes:
        close: methods whose difference to it has an interval that holds 0; the leader is not among them.
        untested: methods without enough common runs for an interval.
    """

    method: str
    close: tuple[str, ...]
    untested: tuple[str, ...]


def leader(panel: Panel) -> Leader | None:
    """The leader by the panel's mean score; None where no method has one, or at one seed.

    The intervals of the differences are t intervals at 95% for all of them together (Bonferroni).
    """
    place = panel.places[0]
    ranked = sorted((-panel.scores[m, place].mean, m) for m in panel.methods if (m, place) in panel.scores)
    if not ranked or panel.seeds < 2:
        return None
    best, others = ranked[0][1], [method for _, method in ranked[1:]]
    close, untested = [], []
    for method in others:
        gaps = paired_differences(panel.arrays[best], panel.arrays[method])
        gaps = gaps if panel.sums_up else gaps[:, :1]
        interval = mean_interval(gaps, level=1 - ALPHA / len(others)) if np.isfinite(gaps).any() else None
        if interval is None:
            untested.append(method)
        elif interval.low <= 0:
            close.append(method)
    return Leader(best, tuple(close), tuple(untested))


def sentences(panel: Panel) -> list[str]:
    """The panel in words, caveats included."""
    return [_runs(panel), *_score_words(panel), *_missing(panel), *energy_notes(panel)]


def _runs(panel: Panel) -> str:
    counts = panel.runs["status"].value_counts()
    lost = [f"{counts[status]} {status}" for status in counts.index if status != "ok"]
    seeds = "one seed" if panel.seeds == 1 else f"{panel.seeds} seeds"
    plural = "" if len(panel.columns) == 1 else "s"
    return (
        f"{len(panel.methods)} methods, {len(panel.columns)} {panel.by}{plural}, {seeds}: "
        f"{len(panel.runs)} runs"
        f"{f', of which {joined(lost)}' if lost else ', all finished'}."
    )


def _score_words(panel: Panel) -> list[str]:
    place = panel.places[0]
    scored = {m: panel.scores[m, place] for m in panel.methods if (m, place) in panel.scores}
    if not scored:
        return ["No method has a score of every task: there is no best one."]
    if panel.seeds < 2:
        return ["One seed: there is no spread, no interval and no test; differences here are anecdotes."]
    found = leader(panel)
    if found is None:
        return []
    best = scored[found.method]
    ends = f" [{best.interval.low:.3f}, {best.interval.high:.3f}]" if best.interval else ""
    what = f"over {len(panel.columns)} tasks" if panel.sums_up else f"on {place}"
    words = [f"Highest mean score {what}: {found.method}, {best.mean:.3f}{ends}."]
    if found.close:
        words.append(
            f"Not more than noise can do at these seeds: its lead over {joined(found.close)}. "
            "That is no proof of equality."
        )
    clear = [m for m in scored if m != found.method and m not in (*found.close, *found.untested)]
    if clear:
        words.append(f"More than noise: its lead over {joined(clear)} (95% for all these differences together).")
    if found.untested:
        words.append(f"Too few common runs to compare it with {joined(found.untested)}.")
    return words


def _missing(panel: Panel) -> list[str]:
    """Kinds of figures that no run has, and the time ratios without a profile."""
    there = {KNOWN[key].group for key in panel.figures}
    absent = [GROUPS[group].lower() for group in GROUPS if group in EXPECTED and group not in there]
    words = [f"Not measured at all: {joined(absent)}."] if absent else []
    if "train_step_ratio" not in panel.figures:
        words.append("No fair time ratios here: run bench profile for them; train s alone compares nothing.")
    return words


def answers(panel: Panel) -> Table:
    """For each cost: the front, and the cheapest method that the seeds cannot tell from the best."""
    heads = (
        Head("best score ...", "The cost that a score is set against.", numeric=False),
        Head(
            "on the front, cheapest first",
            "No other method has a higher mean score at no higher mean cost. Means alone: see the intervals.",
            numeric=False,
        ),
        Head(
            "cheapest whose gap to the best may be noise",
            "Of the methods whose difference to the highest mean score has an interval that holds 0 "
            "(95% for all methods together), the one of least cost.",
            numeric=False,
        ),
        Head("its cost", "Mean over runs.", numeric=False),
    )
    place, found = panel.places[0], leader(panel)
    rows: list[tuple[Cell, ...]] = []
    for key, question in QUESTIONS.items():
        if key == "stored_parameters" and "stored_bytes" in panel.figures:
            continue
        if key == "stored_bytes" and "stored_bytes" not in panel.figures:
            continue
        members = front_members(panel, key, place) if key in front_keys(panel) else []
        if not members:
            rows.append((Cell(question), Cell("not measured"), Cell("-"), Cell("-")))
            continue
        row = [Cell(question), Cell(", ".join(members))]
        candidates = [found.method, *found.close] if found else []
        costs = {m: panel.costs[m, place][key].mean for m in candidates if key in panel.costs.get((m, place), {})}
        if costs:
            cheapest = min(costs, key=lambda method: costs[method])
            column, scale = KNOWN[key], scale_of(KNOWN[key], costs.values())
            row += [
                Cell(cheapest),
                Cell(f"{written(column, costs[cheapest], scale)} {scale.unit or f'({column.label})'}"),
            ]
        else:
            row += [Cell("no claim at one seed" if found is None else "-"), Cell("-")]
        rows.append(tuple(row))
    return Table("answers", f"What buys most, {panel.title}", heads, tuple(rows))
