"""What a whole comparison cost, failed runs and tuning trials included (Schwartz et al., Green AI, 2020)."""

from __future__ import annotations

from reports.columns.numerals import significant
from reports.frame.frame import FOLDER_MARK
from reports.frame.panels import Panel
from reports.tables.notes import joined
from reports.tables.table import NOTHING, Cell, Head, Table

_UNSEEN = (
    "Tuning before these runs, attempts that a rerun replaced and the processes that measure resident memory are in "
    "no record and not counted."
)
_UNSEEN_TUNED = _UNSEEN.replace("Tuning before these runs", "Tuning by hand before the searches")


def budget_sentence(panel: Panel) -> str:
    """A sentence on the number of runs, their seconds, and the settings that were tried."""
    counts = panel.runs["status"].value_counts()
    words = f"Spent in all: {len(panel.runs)} runs ({', '.join(f'{count} {name}' for name, count in counts.items())})"
    wall = panel.runs["wall_time_s"].dropna()
    if len(wall):
        words += f", {significant(wall.sum())} s from start to end of each, loading and evaluation included"
        failed = panel.runs[panel.runs["status"] != "ok"]["wall_time_s"].dropna().sum()
        words += f", {significant(failed)} s of them in runs without a result" if failed else ""
    if is_tuned(panel):
        count = sum(searched_trials(panel).values())
        return (
            f"{words}. Their hyper-parameters were chosen among {count} trials on the dev rows, which are not in these "
            "figures: the table of what tuning cost has them."
        )
    several = [f"{name} ({tried})" for name, tried in trials(panel).items() if tried > 1]
    tried = (
        f"one a method, but for {joined(several)}" if several else "one a method, so no tuning trials among these runs"
    )
    return f"{words}. Hyper-parameter settings tried: {tried}."


def trials(panel: Panel) -> dict[str, int]:
    """Name of a method without hyper-parameters -> how many settings of these were tried, in searches or by runs."""
    settings = panel.runs["method"].str.partition(FOLDER_MARK)[0]  # the same one in two folders is one
    named = settings.groupby(panel.runs["method_name"], sort=True).nunique()
    searched = searched_trials(panel)
    return {str(name): searched.get(str(name), 0) or int(count) for name, count in named.items()}


def is_tuned(panel: Panel) -> bool:
    """Whether the hyper-parameters of the panel's runs were searched."""
    return "tuning_trials" in panel.runs and bool((panel.runs["tuning_trials"] > 0).any())


def searched_trials(panel: Panel) -> dict[str, int]:
    """By a method's bare name, the trials of all its searches, each search once; empty without a search."""
    if not is_tuned(panel):
        return {}
    searches = panel.runs.drop_duplicates(["method", "task", "model", "k", "search"])
    return {str(name): int(count) for name, count in searches.groupby("method_name")["tuning_trials"].sum().items()}


def budget(panel: Panel) -> Table:
    """Runs and seconds of each method, those without a result among them."""
    heads = (
        Head("method", "The method and the hyper-parameters that are not at their defaults.", numeric=False),
        Head("runs", "All that were tried, whatever came of them."),
        Head("failed", "Runs that ended in an error; the notes of the first table name each."),
        Head("unsupported", "Runs of a method that cannot be applied to the model, with the reason in the notes."),
        Head(
            "settings tried",
            "Settings of this method's hyper-parameters, in searches or among these runs: its tuning trials.",
        ),
        Head("seconds in all", "From start to end of each run, loading, measuring and evaluation included."),
        Head("of them without result", "Seconds of the runs that failed."),
    )
    tried, rows = trials(panel), []
    for method in panel.methods:
        runs = panel.runs[panel.runs["method"] == method]
        wall = runs["wall_time_s"].dropna()
        lost = runs[runs["status"] != "ok"]["wall_time_s"].dropna()
        numbers = [
            len(runs),
            *(int((runs["status"] == status).sum()) for status in ("failed", "unsupported")),
            tried[str(runs["method_name"].iloc[0])],
        ]
        seconds = [float(wall.sum()), float(lost.sum())] if len(wall) else []
        cells = [Cell(method, method), *(Cell(f"{number:,}", number) for number in numbers)]
        cells += [Cell(significant(value), value) for value in seconds] or [NOTHING, NOTHING]
        rows.append(tuple(cells))
    notes = (
        "A setting that was tried and failed counts like one that succeeded.",
        _UNSEEN_TUNED if is_tuned(panel) else _UNSEEN,
    )
    title = f"Budget, failed runs and trials included: {panel.name}"
    return Table("budget", title, heads, tuple(rows), notes, reads=budget_sentence(panel))
