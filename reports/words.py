"""The summary in sentences: what buys most, whether that is more than noise, what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reports.budget import budget_sentence
from reports.columns import GROUPS
from reports.comparisons import ALPHA, paired_differences
from reports.indices import KNOWN
from reports.notes import absence_sentences, energy_notes, joined
from reports.panels import Panel
from reports.stats import Interval, mean, mean_interval

EXPECTED = ("flops", "memory", "time", "energy", "effective")


@dataclass(frozen=True)
class Leader:
    """The method of the highest mean, and those that the seeds cannot tell from it.

    Attributes:
        gaps: the other methods' mean scores less its own, over common runs, with intervals at 95% for all
            pairs of methods together: the leader is chosen by the same scores.
        untested: methods without an interval: too few runs, or gaps that are all one and not 0.
    """

    method: str
    gaps: Mapping[str, tuple[float, Interval]]
    untested: tuple[str, ...]

    @property
    def close(self) -> tuple[str, ...]:
        """Methods whose interval does not lie wholly below 0; the leader is not among them."""
        return tuple(method for method, (_, interval) in self.gaps.items() if interval.high >= 0)


def leader(panel: Panel) -> Leader | None:
    """The leader by the panel's mean score among methods with an interval; None where there is none.

    The intervals of the differences are t intervals at 95% for all pairs of methods together (Bonferroni).
    """
    place = panel.places[0]
    scored = [m for m in panel.methods if (m, place) in panel.scores]
    ranked = sorted((-panel.scores[m, place].mean, m) for m in scored if panel.scores[m, place].interval is not None)
    if not ranked or panel.seeds < 2:
        return None
    best, others = ranked[0][1], [method for _, method in ranked[1:]]
    pairs = max(1, len(ranked) * (len(ranked) - 1) // 2)
    found: dict[str, tuple[float, Interval]] = {}
    for method in others:
        gaps = paired_differences(panel.arrays[method], panel.arrays[best])
        gaps = gaps if panel.sums_up else gaps[:, :1]
        interval = mean_interval(gaps, level=1 - ALPHA / pairs) if np.isfinite(gaps).any() else None
        centre = mean(gaps)
        if interval is not None and centre is not None and not _spreadless(interval, centre):
            found[method] = (centre, interval)
    return Leader(best, found, tuple(method for method in scored if method != best and method not in found))


def _spreadless(interval: Interval, centre: float) -> bool:
    """Whether all gaps are one number other than 0: few seeds may agree by chance, and then tell no spread."""
    return abs(centre) > 1e-9 and interval.high - interval.low < 1e-9


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
        return ["One seed: there is no spread, no interval and no test; differences here are anecdotes."]
    found = leader(panel)
    if found is None:
        return []
    best = scored[found.method]
    ends = f" [{best.interval.low:.3f}, {best.interval.high:.3f}]" if best.interval else ""
    what = f"over {len(panel.columns)} tasks" if panel.sums_up else column_words(panel)
    words = [f"Highest mean score {what}: {found.method}, {best.mean:.3f}{ends}."]
    if found.close:
        words.append(
            f"Not more than noise can do at these seeds: its lead over {joined(found.close)}. "
            "That is no proof of equality."
        )
    clear = [m for m in scored if m != found.method and m not in (*found.close, *found.untested)]
    if clear:
        words.append(f"More than noise: its lead over {joined(clear)} (95% for all pairs of methods together).")
    elif found.close:
        words.append(f"So {panel.seeds} seeds tell no method from the best one: more of them are needed.")
    sizes = [gap.detectable for gap in panel.contrasts[place].values() if gap.detectable is not None]
    if sizes:
        words.append(
            f"A true difference to {panel.baseline} of {min(sizes):.3f} to {max(sizes):.3f}, by method, is what "
            "a t test of that pair alone would find four times in five with so many seeds, before any correction "
            "for several methods; smaller ones mostly stay hidden."
        )
    if found.untested:
        words.append(f"Too few common runs for an interval, so no comparison with it: {joined(found.untested)}.")
    return words


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
