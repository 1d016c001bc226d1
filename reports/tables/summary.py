"""The summary in sentences: what buys most, whether that is more than noise, what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.tasks import score_named
from reports.columns.document import GROUPS
from reports.frame.panels import Panel
from reports.stats.intervals import Interval, mean
from reports.tables.budget import budget_sentence
from reports.tables.notes import absence_sentences, energy_notes, joined

if TYPE_CHECKING:
    from reports.stats.comparisons import Comparison

NEAR_CONSTANT = 0.1
"""Scores that lie within this of what a constant prediction reaches are said to."""

EXPECTED = ("flops", "memory", "time", "energy", "effective")


@dataclass(frozen=True)
class Leader:
    """The best method, and those that the seeds cannot tell from it.

    Attributes:
        method: of the methods that no other one beats by more than noise, the one of the highest mean score over the
            runs (seed and task) that all candidates have. Means over different runs compare nothing.
        mean: that mean.
        gaps: the other methods' mean scores less its own, over common runs, with intervals at 95% for all
            pairs of methods together: the leader is chosen by the same scores.
        untested: methods without an interval: too few runs.
        differing: those of `gaps` that are worse by more than noise.
        always_below: those of `gaps` that scored lower in every run that both have.
        tied: methods whose mean score is exactly the leader's.
        shared: how many runs of a method all candidates have, where some have more; None where all have the same.
        unlike: methods with a higher mean score, of other runs, that are no better over the same runs.
    """

    method: str
    mean: float
    gaps: Mapping[str, tuple[float, Interval]]
    untested: tuple[str, ...]
    differing: frozenset[str] = frozenset()
    always_below: frozenset[str] = frozenset()
    tied: tuple[str, ...] = ()
    shared: int | None = None
    unlike: tuple[str, ...] = ()

    @property
    def close(self) -> tuple[str, ...]:
        """Methods whose difference to the leader noise can explain; the leader is not among them."""
        return tuple(method for method in self.gaps if method not in self.differing)

    @property
    def advisable(self) -> tuple[str, ...]:
        """The leader and the close methods that beat or equalled it in at least one run."""
        return (self.method, *(method for method in self.close if method not in self.always_below))


def leader(panel: Panel) -> Leader | None:
    """The best of the panel's methods with an interval; None where there is none, see `no_leader`.

    Differences, intervals and verdicts are those of `Panel.comparisons`, which the tables show too.
    """
    place = panel.places[0]
    scored = [m for m in panel.methods if (m, place) in panel.scores]
    candidates = [m for m in scored if panel.scores[m, place].interval is not None]
    pairs = panel.comparisons[place]
    unbeaten = [m for m in candidates if not any(_worse(pairs[m, other]) for other in candidates if other != m)]
    if not unbeaten or panel.seeds < 2:
        return None
    means, shared = _common_means(panel, candidates)
    ranked = sorted(candidates, key=lambda m: (-means[m], m))
    best = next(m for m in ranked if m in unbeaten)
    against = {m: pairs[m, best] for m in ranked if m != best}
    gaps = {
        method: (one.difference, one.interval)
        for method, one in against.items()
        if one.difference is not None and one.interval is not None
    }
    own = panel.scores[best, place].mean
    return Leader(
        method=best,
        mean=means[best],
        gaps=gaps,
        untested=tuple(method for method in scored if method != best and method not in gaps),
        differing=frozenset(method for method in gaps if _worse(against[method])),
        always_below=frozenset(method for method in gaps if against[method].always_below),
        tied=tuple(method for method in against if abs(means[method] - means[best]) < 1e-12),
        shared=shared,
        unlike=tuple(m for m in gaps if panel.scores[m, place].mean > own + 1e-12),
    )


def no_leader(panel: Panel) -> str:
    """Why there is no best method."""
    if panel.seeds < 2:
        return "no claim at one seed"
    if any(panel.scores[m, panel.places[0]].interval for m in panel.methods if (m, panel.places[0]) in panel.scores):
        return "no claim: each method loses to another over their common runs"
    return "no claim: too few runs for an interval"


def _worse(pair: Comparison) -> bool:
    """Whether the method is below the other one by more than noise."""
    return bool(pair.differs) and pair.difference is not None and pair.difference < 0


def _common_means(panel: Panel, methods: Sequence[str]) -> tuple[dict[str, float], int | None]:
    """Each method's mean score over the runs that all of them have, and how many those are, if some have more.

    Where a column has no such run the means are of all runs, and the number is None.
    """
    place = panel.places[0]
    arrays = {m: panel.arrays[m] if panel.sums_up else panel.arrays[m][:, :1] for m in methods}
    here = np.stack([~np.isnan(array) for array in arrays.values()])
    common = here.all(axis=0)
    if (here == common).all() or not common.any(axis=0).all():
        return {m: panel.scores[m, place].mean for m in methods}, None
    means = {m: mean(np.where(common, array, np.nan)) for m, array in arrays.items()}
    return {m: value for m, value in means.items() if value is not None}, int(common.sum())


def sentences(panel: Panel, best: Leader | None) -> list[str]:
    """The panel in words, caveats included; `best` is its `leader`."""
    return [
        _runs(panel),
        *_setting(panel),
        *_score_words(panel, best),
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


def _score_words(panel: Panel, best: Leader | None) -> list[str]:
    place = panel.places[0]
    scored = {m: panel.scores[m, place] for m in panel.methods if (m, place) in panel.scores}
    if not scored:
        return ["No method has a score of every task: there is no best one."]
    if panel.seeds < 2:
        anecdotes = "One seed: there is no spread, no interval and no test; differences here are anecdotes."
        return [anecdotes, *_no_better_than_constant(panel)]
    if best is None:
        return [f"{no_leader(panel).capitalize()}.", *_no_better_than_constant(panel)]
    words = [_leader_words(panel, best)]
    words += _no_better_than_constant(panel)
    if best.close:
        words.append(
            f"Not more than noise can do at these seeds: its lead over {joined(best.close)}. "
            "That is no proof of equality."
        )
    if below := [method for method in best.close if method in best.always_below]:
        words.append(f"Of these, {joined(below)} scored lower in every single run, so no answer below names them.")
    clear = [m for m in scored if m in best.differing]
    if clear:
        words.append(f"More than noise: its lead over {joined(clear)} (95% for all pairs of methods together).")
    elif best.close:
        words.append(f"So {panel.seeds} seeds tell no method from the best one: more of them are needed.")
    sizes = [gap.detectable for gap in panel.contrasts[place].values() if gap.detectable is not None]
    if sizes:
        least, most = f"{min(sizes):.3f}", f"{max(sizes):.3f}"
        span = least if least == most else f"{least} to {most}, by method,"
        words.append(
            f"A true difference to {panel.baseline} of {span} is what this "
            " test would find four times in five with so many seeds; smaller ones mostly stay hidden."
        )
    if best.untested:
        words.append(f"Too few common runs for an interval, so no comparison with it: {joined(best.untested)}.")
    return words


def _leader_words(panel: Panel, best: Leader) -> str:
    """Which method is best, by which mean."""
    whole = panel.scores[best.method, panel.places[0]]
    ends = f" [{whole.interval.low:.3f}, {whole.interval.high:.3f}]" if whole.interval else ""
    what = f"over {len(panel.columns)} tasks" if panel.sums_up else column_words(panel)
    names = f"{joined([best.method, *best.tied])}, exactly tied at" if best.tied else f"{best.method},"
    if best.shared:
        text = (
            f"Some runs are absent, so scores are compared over the {best.shared} runs that all have. Highest mean "
            f"score of these {what}: {names} {best.mean:.3f} (over all its runs {whole.mean:.3f}{ends})."
        )
    elif best.unlike:
        text = f"Best {what}, though no run is common to all: {best.method}, {whole.mean:.3f}{ends}."
    else:
        text = f"Highest mean score {what}: {names} {best.mean:.3f}{'' if best.tied else ends}."
    if best.unlike:
        verb = "has a higher mean" if len(best.unlike) == 1 else "have higher means"
        text += f" {joined(best.unlike)} {verb} only over other runs than it."
    return text


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
    there = {panel.definitions[key].group for key in panel.figures}
    absent = [GROUPS[group].lower() for group in GROUPS if group in EXPECTED and group not in there]
    words = [f"Not measured at all: {joined(absent)}."] if absent else []
    if "train_step_ratio" not in panel.figures:
        words.append("No fair time ratios here: run bench profile for them; train s alone compares nothing.")
    return words
