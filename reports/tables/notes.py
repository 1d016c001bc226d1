"""The notes below a table: what its figures mean, how intervals and tests were made, and why figures are absent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from reports.frame.frame import PROFILED
from reports.frame.panels import Panel

if TYPE_CHECKING:
    import pandas as pd

REASONS_SHOWN = 20
"""Failed runs that a table's notes name one by one; the rest are counted."""


INTERVALS = (
    "Intervals are Student's t with a moderated variance: each method's variance over seeds is averaged with what "
    "the variances of all methods of the same column are like (Smyth, 2004), and is never below that of rounding to "
    "whole test rows; ends stay within the scores that are possible."
)


UNDEFINED = (
    "undefined: the score has no value where a method gives every row the same answer, as a correlation needs answers "
    "that differ."
)


def score_notes(panel: Panel) -> list[str]:
    """What the scores are, and how many seeds stand behind them."""
    notes = [f"Scores on the held-out test rows: {_seed_words(panel)}"]
    if "score" in panel.ok and panel.ok["score"].isna().any():
        notes.append(UNDEFINED)
    if len(set(panel.headlines.values())) > 1 and panel.sums_up:
        notes.append("The tasks' scores are of different kinds: their mean is a summary, not a unit.")
    return notes


def main_details(panel: Panel, keys: Iterable[str]) -> list[str]:
    """What the main table's few cost columns mean, and what is wrong with single tasks."""
    keys, notes = set(keys), [*([INTERVALS] if panel.seeds > 1 else []), *repeated_notes(panel)]
    if "trained_parameters" in keys or "stored_parameters" in keys:
        notes.append(
            "trained: parameters that got a gradient; stored: those to keep for deployment; both without the "
            f"head ({_range(panel.ok, 'head_parameters')}). Share: stored over the backbone's "
            f"{_range(panel.ok, 'backbone_parameters')}."
        )
    if "train_time_s" in keys:
        notes.append("train s: observed, one run after another on a drifting machine; no fair ratio.")
    return notes + setting_notes(panel, keys)


def setting_notes(panel: Panel, keys: Iterable[str]) -> list[str]:
    """Notes on time ratios (their profile, and whether it is suspect) and on seconds that do not compare."""
    keys, notes = set(keys), []
    if keys & PROFILED.keys() and "profile" in panel.ok:
        notes += [
            f"Time ratios: all methods taking turns in one process, at {words}. Intervals are of that process."
            for words in panel.ok["profile"].dropna().unique()
        ]
        notes += [
            f"The time ratios are SUSPECT, though measured twice: {reason}. Measure again on a quiet "
            "machine: bench profile."
            for reason in panel.ok["profile_suspect"].dropna().unique()
        ]
    allocators = {} if "allocator" not in panel.ok else panel.ok["allocator"].value_counts().to_dict()
    if len(allocators) > 1 and any(panel.definitions[key].group in ("time", "energy") for key in keys):
        counts = "; ".join(f"{name}: {count} runs" for name, count in allocators.items())
        notes.append(f"Runs were made under different allocators ({counts}): their seconds and joules do not compare.")
    return notes


def repeated_notes(panel: Panel) -> list[str]:
    """Notes on tasks that have test rows whose text stands in the training or dev rows as well."""
    if "repeated_examples" not in panel.ok:
        return []
    runs = panel.ok[panel.ok["repeated_examples"].fillna(0) > 0]
    return [
        f"{task}: {most['repeated_examples']:.0f} of {most['test_examples']:.0f} test rows have a text that stands in "
        "the training or dev rows as well (the most of any run): scores on them show memory, not learning."
        for task, most in runs.groupby("task")[["repeated_examples", "test_examples"]].max().iterrows()
    ]


def _seed_words(panel: Panel) -> str:
    if panel.seeds < 2:
        return "one seed: no spread, no interval, no test; no difference here is more than an anecdote."
    return (
        f"mean ± standard deviation over {panel.seeds} seeds (n where fewer), in brackets the 95% interval "
        f"of the mean where shown. Bold: the highest mean of a column, which alone is no claim."
    )


def _range(runs: pd.DataFrame, key: str) -> str:
    """The value of a figure that all runs share, or its least and its greatest value."""
    values = sorted(runs[key].dropna().unique()) if key in runs else []
    if not values:
        return "unknown"
    return f"{values[0]:,.0f}" if len(values) == 1 else f"{values[0]:,.0f} to {values[-1]:,.0f}"


def loss_notes(panel: Panel) -> list[str]:
    """A note on each run without a result, with the reason; runs with the same reason share one note."""
    lost = panel.runs[panel.runs["status"] != "ok"]
    if lost.empty:
        return []
    notes = []
    grouped = lost.assign(reason=lost["reason"].fillna("no reason recorded"))
    grouped = grouped.groupby(["method", "status", "reason"], sort=True)
    for (method, status, reason), runs in list(grouped)[:REASONS_SHOWN]:
        places = ", ".join(f"{task} seed {seed}" for task, seed in zip(runs[panel.by], runs["data_seed"], strict=True))
        if len(runs) > 4:
            places = f"{len(runs)} runs"
        notes.append(f"{method} on {places}: {status}: {reason}")
    if (more := len(grouped) - REASONS_SHOWN) > 0:
        notes.append(f"and {more} more kinds of failure: see the records")
    return notes


def rank_notes(panel: Panel) -> list[str]:
    """Which methods the ranks leave out."""
    if not panel.ranks:
        return []
    absent = [method for method in panel.methods if method not in panel.ranks]
    out = f" Left out for want of a task: {', '.join(absent)}." if absent else ""
    return [f"Average rank over the seeds and tasks that every ranked method finished.{out}"]


def difference_notes(panel: Panel) -> list[str]:
    """How the tests were made, and whether so few runs can show anything."""
    return [
        f"Difference: the method's score less that of {panel.baseline}, paired by seed and task. "
        "*: p (all pairs) below 0.05, which is the same as an interval without 0.",
        "detectable: the true difference that this test, with so many seeds, so spread, would show with 80% power; a "
        "smaller one may well be there.",
    ]


TESTS = (
    "Test and interval are one: Student's t with the variance of the paired differences moderated over all pairs "
    "of methods of the place (Smyth, 2004), corrected by Bonferroni for the number of these pairs, not over "
    "places. The summary uses the same."
)


def absence_notes(panel: Panel, groups: Iterable[str]) -> list[str]:
    """Why figures of these groups were not measured, as the records say it."""
    if "absent" not in panel.ok:
        return []
    methods_of: dict[tuple[str, str], dict[str, None]] = {}
    for method, absent in zip(panel.ok["method"], panel.ok["absent"], strict=True):
        for key, reason in absent.items() if isinstance(absent, dict) else ():
            if key in panel.definitions and panel.definitions[key].group in groups:
                methods_of.setdefault((key, reason), {})[method] = None
    return [
        f"{_absent(key, panel)}: {panel.definitions[key].label}: {reason}"
        + ("." if len(who) == len(panel.methods) else f" ({joined(list(who))}).")
        for (key, reason), who in methods_of.items()
    ]


def _absent(key: str, panel: Panel) -> str:
    return "Absent from some runs" if key in panel.figures else "Absent"


def absence_sentences(panel: Panel) -> list[str]:
    """The figures that no run has, with the reasons that runs recorded."""
    reasons: dict[str, dict[str, None]] = {}
    for absent in panel.ok.get("absent", ()):
        for key, reason in absent.items() if isinstance(absent, dict) else ():
            if key in panel.definitions and not key.endswith("energy_measured_joules"):  # `energy_notes` says that
                reasons.setdefault(key, {})[reason] = None
    found: dict[str, list[str]] = {}
    for key in (key for key in panel.definitions if key in reasons and key not in panel.figures):
        found.setdefault(" / ".join(reasons[key]), []).append(panel.definitions[key].label)
    return [f"Not measured: {joined(names)} ({why})." for why, names in found.items()]


def energy_notes(panel: Panel) -> list[str]:
    """Notes on the sources of the joules."""
    columns = [panel.definitions[key] for key in panel.figures]
    measured = any(column.group == "energy" and not column.estimated for column in columns)
    estimated = any(column.estimated for column in columns)
    notes = []
    if not measured and estimated:
        notes.append("No energy was measured here: this machine gave no hardware counter (RAPL, NVML).")
    sources = set(panel.ok["energy_source"].dropna()) if "energy_source" in panel.ok else set()
    if sources:
        notes.append(f"Joules of training by component and source: {'; '.join(sorted(sources))}.")
    if estimated:
        notes.append(
            "~ marks an estimate (a model of the machine's power, no counter): it is in no ranking, front or sum."
        )
    return notes


def joined(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
