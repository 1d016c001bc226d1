"""The summary in sentences: what buys most, whether that is more than noise, what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench.tasks import score_named
from reports.columns.document import GROUPS
from reports.columns.indices import KNOWN
from reports.frame.panels import Panel
from reports.stats.intervals import Interval
from reports.tables.budget import budget_sentence
from reports.tables.notes import absence_sentences, energy_notes, joined

NEAR_CONSTANT = 0.1
"""Scores that lie within this of what a constant prediction reaches are said to."""

EXPECTED = ("flops", "memory", "time", "energy", "effective")


@dataclass(frozen=True)
class Leader:
    """The method of the highest mean, and those that the seeds cannot tell from it.

    Attributes:
        gaps: the other methods' mean scores less its own, over common runs, with intervals at 95% for all
            pairs of methods together: the leader is chosen by the same scores.
        untested: methods without an interval: too few runs.
        differing: those of `gaps` whose difference is more than noise.
        always_below: those of `gaps` that scored lower in every run that both have.
        tied: methods whose mean score is exactly the leader's.
    """

    method: str
    gaps: Mapping[str, tuple[float, Interval]]
    untested: tuple[str, ...]
    differing: frozenset[str] = frozenset()
    always_below: frozenset[str] = frozenset()
    tied: tuple[str, ...] = ()

    @property
    def close(self) -> tuple[str, ...]:
        """Methods whose difference to the leader noise can explain; the leader is not among them."""
        return tuple(method for method in self.gaps if method not in self.differing)

    @property
    def advisable(self) -> tuple[str, ...]:
        """The leader and the close methods that beat or equalled it in at least one run."""
        return (self.method, *(method for method in self.close if method not in self.always_below))


def leader(panel: Panel) -> Leader | None:
    """The leader by the panel's mean score among methods with an interval; None where there is none.

    Differences, intervals and verdicts are those of `Panel.comparisons`, which the tables show too.
    """
    place = panel.places[0]
    scored = [m for m in panel.methods if (m, place) in panel.scores]
    ranked = sorted((-panel.scores[m, place].mean, m) for m in scored if panel.scores[m, place].interval is not None)
    if not ranked or panel.seeds < 2:
        return None
    best = ranked[0][1]
    against = {m: panel.comparisons[place][m, best] for _, m in ranked[1:]}
    gaps = {
        method: (one.difference, one.interval)
        for method, one in against.items()
        if one.difference is not None and one.interval is not None
    }
    return Leader(
        method=best,
        gaps=gaps,
        untested=tuple(method for method in scored if method != best and method not in gaps),
        differing=frozenset(method for method in gaps if against[method].differs),
        always_below=frozenset(method for method in gaps if against[method].always_below),
        tied=tuple(method for value, method in ranked[1:] if abs(value - ranked[0][0]) < 1e-12),
    )


def sentences(panel: Panel) -> list[str]:
    """The panel in words, caveats included."""
    return [
        _runs(panel),
        *_setting(panel),
        *_score_words(panel),
        *_missing(panel),
        *absence_sentences(panel),
        *energy_notes(panel),
        budget_sentence(panel),
    ]


def _setting(panel: Panel) -> list[str]:
    """What a run is, for who has not read the documentation."""
    if panel.by != "task":
        return []
    kinds = (("data_seed", "the rows drawn"), ("model_seed", "the initial weights"))
    differ = [words for key, words in kinds if panel.runs[key].nunique() > 1]
    seeds = f" Seeds differ in {joined(differ)}." if differ else ""
    rows = "all training rows" if panel.fixed["k"] == "all" else f"{panel.fixed['k']} training rows (K)"
    return [
        f"A run adapts the pretrained model {panel.fixed['model']} to one task with one method on {rows}; its score "
        f"is of held-out test rows, higher is better.{seeds}"
    ]


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
        anecdotes = "One seed: there is no spread, no interval and no test; differences here are anecdotes."
        return [anecdotes, *_no_better_than_constant(panel)]
    found = leader(panel)
    if found is None:
        return _no_better_than_constant(panel)
    best = scored[found.method]
    ends = f" [{best.interval.low:.3f}, {best.interval.high:.3f}]" if best.interval else ""
    what = f"over {len(panel.columns)} tasks" if panel.sums_up else column_words(panel)
    if found.tied:
        words = [f"Highest mean score {what}: {joined([found.method, *found.tied])}, exactly tied at {best.mean:.3f}."]
    else:
        words = [f"Highest mean score {what}: {found.method}, {best.mean:.3f}{ends}."]
    words += _no_better_than_constant(panel)
    if found.close:
        words.append(
            f"Not more than noise can do at these seeds: its lead over {joined(found.close)}. "
            "That is no proof of equality."
        )
    if below := [method for method in found.close if method in found.always_below]:
        words.append(f"Of these, {joined(below)} scored lower in every single run, so no answer below names them.")
    clear = [m for m in scored if m != found.method and m not in (*found.close, *found.untested)]
    if clear:
        words.append(f"More than noise: its lead over {joined(clear)} (95% for all pairs of methods together).")
    elif found.close:
        words.append(f"So {panel.seeds} seeds tell no method from the best one: more of them are needed.")
    sizes = [gap.detectable for gap in panel.contrasts[place].values() if gap.detectable is not None]
    if sizes:
        words.append(
            f"A true difference to {panel.baseline} of {min(sizes):.3f} to {max(sizes):.3f}, by method, is what "
            "this test would find four times in five with so many seeds; smaller ones mostly stay hidden."
        )
    if found.untested:
        words.append(f"Too few common runs for an interval, so no comparison with it: {joined(found.untested)}.")
    return words


def _no_better_than_constant(panel: Panel) -> list[str]:
    """Columns on which no trained method scored higher than one that trains nothing, or than a constant answer."""
    words = []
    for column in panel.columns:
        means = {m: panel.scores[m, column].mean for m in panel.methods if (m, column) in panel.scores}
        trained = {method: value for method, value in means.items() if method not in panel.still}
        untrained = {method: value for method, value in means.items() if method in panel.still}
        if not trained:
            continue
        best, where = max(trained.values()), _column_name(panel, column)
        metric = panel.headlines.get(column, "score")
        declared = score_named(metric)
        constant = None if declared is None else declared.constant
        if constant is not None and all(abs(value - constant) < NEAR_CONSTANT for value in trained.values()):
            words.append(
                f"On {where} every method's {metric} is within {NEAR_CONSTANT} of {constant:.0f}, which a constant "
                "answer reaches: nothing was learned there that the score shows."
            )
        elif untrained and best <= max(untrained.values()) + 1e-12:
            reference = max(untrained, key=lambda method: untrained[method])
            words.append(
                f"On {where} no trained method scored higher than {reference}, which trains nothing "
                f"({best:.3f} against {untrained[reference]:.3f})."
            )
    return words


def _column_name(panel: Panel, column: str) -> str:
    return column if panel.by == "task" else f"{panel.by} {column}"


def column_words(panel: Panel) -> str:
    """Of which column a statement is that cannot be of all: `on trec`, `at k 100, the first of 3`."""
    place = panel.places[0]
    if panel.by == "task":
        return f"on {place}"
    several = f", the first of {len(panel.columns)}" if len(panel.columns) > 1 else ""
    return f"at {panel.by} {place}{several}"


def _missing(panel: Panel) -> list[str]:
    """Kinds of figures that no run has, and the time ratios without a profile."""
    there = {KNOWN[key].group for key in panel.figures}
    absent = [GROUPS[group].lower() for group in GROUPS if group in EXPECTED and group not in there]
    words = [f"Not measured at all: {joined(absent)}."] if absent else []
    if "train_step_ratio" not in panel.figures:
        words.append("No fair time ratios here: run bench profile for them; train s alone compares nothing.")
    return words
