"""What the searches of a comparison found and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.records.store import Record
from reports.columns.numerals import ABSENT, Scale, scale_of, significant
from reports.columns.tuning import TUNING
from reports.frame.panels import Panel
from reports.frame.searches import JOULES, REFERENCE, Searched, floor_of, searches_of
from reports.frame.trials import trial_frame
from reports.stats.best import MARGIN
from reports.tables.table import NOTHING, Cell, Head, Table

if TYPE_CHECKING:
    from reports.stats.good_range import GoodRange

BEST_OF = (1, 4, 12)
"""The numbers of trials whose expected best is shown, as far as there are so many independent draws."""

_METHOD = Head("method", "The method and the hyper-parameters that are not at their defaults.", numeric=False)


def tuning_tables(panel: Panel, records: Sequence[Record], *, margin: float = MARGIN) -> list[Table]:
    """What the searches behind a panel found, and what they cost; none where nothing was searched.

    Args:
        panel: made of `records`.
        records: of the report, trials among them.
        margin: the difference in score that makes none in practice.
    """
    found = searches_of(panel, records)
    searched = [each for each in found if each.trials]
    if not searched:
        return []
    return [choice_table(panel, searched), ease_table(panel, searched, margin), cost_table(panel, found)]


def choice_table(panel: Panel, searched: Sequence[Searched]) -> Table:
    """Per method and column: what was tried and what was chosen."""
    heads = (
        _METHOD,
        Head(panel.by, "Where the searches were made.", numeric=False),
        Head("trials", "Searches x draws of each; after a plus, draws beyond an end of the range."),
        Head("failed", "Trials without a score, with an error or a loss that was not finite."),
        Head("chosen", "Values of the best trials, from the least to the greatest of the searches.", numeric=False),
        Head("at an edge", "How many searches chose a value at an end of what they tried: more may lie beyond."),
        Head("best on dev", "The dev score of the best trial, in the mean of the searches. It flatters."),
    )
    rows = []
    for each in searched:
        beyond = len(each.trials) - len(each.originals)
        trials = f"{len(each.chosen)} x {each.draws}{f' + {beyond}' if beyond else ''}"
        at_edge, best = sum(bool(chosen.at_edge) for chosen in each.chosen), best_scores(each)
        rows.append(
            (
                Cell(each.method, each.method),
                Cell(each.place, each.place),
                Cell(trials, len(each.trials)),
                Cell(str(each.failed), each.failed),
                Cell(chosen_words(each), each.method),
                Cell(f"{at_edge} of {len(each.chosen)}" if at_edge else "none", at_edge),
                Cell(f"{np.mean(best):.3f}", float(np.mean(best))) if best else NOTHING,
            )
        )
    edges = [f"{each.method} ({each.place})" for each in searched if any(chosen.at_edge for chosen in each.chosen)]
    flagged = (
        f"Chosen at an edge, even after the range was extended once: {', '.join(edges)}. A better value may lie "
        "beyond; with few draws the outermost one is often the best by chance."
    )
    return Table(
        "tuning",
        f"Tuning: {panel.name}",
        heads,
        tuple(rows),
        (scope_words(searched), *([flagged] if edges else [])),
        reads="Each method tried the same number of values, at the same places of its own range; the best on the dev "
        "rows was trained anew, and scored on the test rows in the other tables.",
    )


def ease_table(panel: Panel, searched: Sequence[Searched], margin: float) -> Table:
    """Per method and column: how good the best of a few trials is, and how wide the range of good rates."""
    from reports.stats.tuning import expected_best

    most = max(len(each.originals) for each in searched)
    sizes = [size for size in BEST_OF if size <= most]
    heads = (
        _METHOD,
        Head(panel.by, "Where the searches were made.", numeric=False),
        *(
            Head(f"best of {size}", "Expected dev score of the best of so many draws, estimated without bias.")
            for size in sizes
        ),
        Head(
            f"range within {margin:g}",
            "Width in powers of ten of the range of rates around the best whose smoothed dev score is within the "
            "margin of it. >=: it goes on beyond what was tried.",
        ),
    )
    rows = []
    for each in searched:
        floor, _ = floor_of(panel, each.place)
        expected, width = expected_best(each.scores(floor, each.originals), sizes), good_range_of(panel, each, margin)
        rows.append(
            (
                Cell(each.method, each.method),
                Cell(each.place, each.place),
                *(NOTHING if np.isnan(score) else Cell(f"{score:.3f}", float(score)) for score in expected),
                NOTHING if width is None else Cell(f"{'>= ' if width.at_least else ''}{width.width:.2f}", width.width),
            )
        )
    details = [
        "Best of m rests on the searches' own draws alone. Draws beyond an end of the range are made only where the "
        "best one stood at that end, so they are not independent; they count in the choice and in the range.",
        "The range: 1.00 means that the greatest good rate is ten times the least. Scores are smoothed over the rates, "
        "for the highest of noisy scores would make every range look narrow.",
    ]
    if any(len(each.chosen) > 1 for each in searched):
        details.append(
            "Draws of several searches are pooled, though the trials of one search share their training rows."
        )
    lost = sorted({each.place for each in searched if each.failed})
    notes = [f"A failed trial on {place} counts with {floor_of(panel, place)[1]}." for place in lost]
    return Table(
        "tuning-ease",
        f"How easy to tune: {panel.name}",
        heads,
        tuple(rows),
        tuple(notes[:3]),
        reads="The less the best of a few trials lies below the best of many, and the wider the range of good values, "
        "the easier a method is to tune.",
        details=(*notes[3:], *details),
    )


def best_scores(each: Searched) -> list[float]:
    """The dev score of the best trial of each search that has one."""
    scores: dict[int, float] = {}
    for trial in each.trials:
        if trial.score is not None:
            scores[trial.search] = max(trial.score, scores.get(trial.search, trial.score))
    return list(scores.values())


def good_range_of(panel: Panel, each: Searched, margin: float) -> GoodRange | None:
    """The range of rates within the margin of the best one, from all trials; None where no rate was searched."""
    from reports.stats.good_range import good_range

    if each.axis is None or each.failed == len(each.trials):
        return None
    floor, _ = floor_of(panel, each.place)
    return good_range([each.rate(trial) for trial in each.trials], each.scores(floor), margin=margin)


def chosen_words(each: Searched) -> str:
    """The chosen values, from the least to the greatest: `learning_rate 0.001 to 0.0027`."""
    words = []
    for name in each.space:
        values = sorted({chosen.values[name] for chosen in each.chosen}, key=lambda value: (str(type(value)), value))
        texts = [f"{value:.2g}" if isinstance(value, float) else str(value) for value in values]
        span = texts[0] if texts[0] == texts[-1] else f"{texts[0]} to {texts[-1]}"
        words.append(f"{name} {span}")
    return ", ".join(words) or ABSENT


def scope_words(found: Sequence[Searched]) -> str:
    """What the comparison of the scores can be said to be of: the chosen settings, or the methods with their tuning."""
    if any(each.shared for each in found):
        return (
            "Several seeds share one search, so differences hold at the settings chosen here: the spread over seeds "
            "leaves out the luck of searching. Of eight equal methods such a comparison (12 trials, 5 seeds, one task) "
            "calls one better in about 30% of cases with 1000 dev rows, in 70% with 100 (python -m "
            "benchmarks.decisions); --searches as many as --seeds avoids that."
        )
    return (
        "Each seed has a search of its own, so differences are of the methods as they are tuned here: the spread over "
        "seeds holds the luck of searching too."
    )


def scope_sentences(panel: Panel, records: Sequence[Record]) -> list[str]:
    """The sentence that says what the comparison of a tuned panel is of; none where nothing was searched."""
    found = searches_of(panel, records)
    return [scope_words(found)] if any(each.trials for each in found) else []


_SPENT: Mapping[str, tuple[str, str]] = {
    "train_flops": ("training FLOPs", "tuning_train_flops"),
    "train_time_s": ("training s", "tuning_train_time_s"),
    JOULES: ("training J", "tuning_train_energy_measured_joules"),
}


def cost_table(panel: Panel, found: Sequence[Searched]) -> Table:
    """What tuning cost each method over all its searches, and the total with retraining over the reference's."""
    keys = [key for key in _SPENT if any(each.trials and each.cost(key) is not None for each in found)]
    counted = "train_flops" in keys
    scales = {}
    for key in keys:
        costs = [cost for each in found if (cost := each.cost(key)) is not None]
        scales[key] = scale_of(TUNING[_SPENT[key][1]], [*costs, *(each.retrained.get(key, 0.0) for each in found)])
    heads = [_METHOD, Head(panel.by, "Where the searches were made.", numeric=False)]
    heads.append(Head("trials", TUNING["tuning_trials"].says))
    for key in keys:
        label, of = _SPENT[key]
        unit = scales[key].unit.removesuffix("FLOPs") if key == "train_flops" else ""
        name = f"{label} ({unit})" if unit else label
        heads.append(Head(f"tuning: {name}", f"{TUNING[of].label}, each search once. {TUNING[of].error}."))
        if key == "train_flops":
            heads.append(Head(f"anew: {name}", "Of the runs that were trained anew with what was chosen."))
    if counted:
        heads.append(Head(f"FLOPs in all / {REFERENCE}", "Tuning and retraining, over those of the reference."))
    rows = []
    for each in found:
        cells = [Cell(each.method, each.method), Cell(each.place, each.place)]
        cells.append(Cell(str(len(each.trials)), len(each.trials)))
        for key in keys:
            cells.append(_cost_cell(each.cost(key), scales[key]))
            if key == "train_flops":
                cells.append(_cost_cell(each.retrained.get(key), scales[key]))
        if counted:
            cells.append(_ratio_cell(each, found))
        rows.append(tuple(cells))
    notes = ["Each search counts once, however many seeds share it. A failed trial counts as the mean of the others."]
    if JOULES not in keys:
        notes.append("Absent: joules: no hardware counter was read in the trials.")
    if not counted:
        notes.append("Absent: training FLOPs: they were not counted (--no-costs).")
    return Table(
        "tuning-cost",
        f"What tuning cost: {panel.name}",
        tuple(heads),
        tuple(rows),
        tuple(notes),
        reads="Equal trials are not equal cost: all methods tried equally many values but for those beyond an end, and "
        "a trial of one costs more than that of another.",
        details=tuple(f"{label}: {TUNING[of].error}." for label, of in map(_SPENT.__getitem__, keys)),
    )


def _cost_cell(cost: float | None, scale: Scale) -> Cell:
    return NOTHING if cost is None else Cell(significant(cost / scale.factor), cost)


def _total(each: Searched) -> float | None:
    tuning, training = each.cost("train_flops"), each.retrained.get("train_flops")
    return None if tuning is None or training is None else tuning + training


def _ratio_cell(each: Searched, found: Sequence[Searched]) -> Cell:
    total = _total(each)
    of = [
        reference
        for other in found
        if other.place == each.place
        and other.method.partition("[")[0].partition(" ")[0] == REFERENCE
        and (reference := _total(other))
    ]
    return Cell(f"{total / of[0]:.3f}", total / of[0]) if total is not None and of else NOTHING


def search_table(records: Sequence[Record]) -> Table:
    """The best trial of each search: its values, its dev score, and what all its trials took."""
    trials = trial_frame(records)
    heads = (
        Head("method", "The method.", numeric=False),
        Head("task", "The task.", numeric=False),
        Head("K", "Training rows."),
        Head("search", "Its number; each has other draws and training rows."),
        Head("trials", "How many values were tried, those beyond an end of the range among them."),
        Head("failed", "Trials that ended in an error or without a score."),
        Head("best", "The values of the best trial.", numeric=False),
        Head("dev score", "Its score on the dev rows, which flatters: it is the highest of all."),
        Head("seconds", "From start to end of all its trials."),
    )
    rows = []
    for _, cell in trials.groupby(["method", "task", "k", "search"], sort=False):
        first, number = cell.iloc[0], int(cell["search"].iloc[0])
        scored = cell.dropna(subset="score")
        wall = float(cell["wall_time_s"].sum())
        found: tuple[Cell, Cell] = (NOTHING, NOTHING)
        if len(scored):
            best = scored.loc[scored["score"].idxmax()]
            values = ", ".join(f"{name} {value:g}" for name, value in best["values"].items())
            found = (Cell(values, values), Cell(f"{best['score']:.3f}", float(best["score"])))
        rows.append(
            (
                *(Cell(str(text), str(text)) for text in (first["method"], first["task"], first["k"])),
                Cell(str(number), number),
                Cell(str(len(cell)), len(cell)),
                Cell(str(len(cell) - len(scored)), len(cell) - len(scored)),
                *found,
                Cell(significant(wall), wall),
            )
        )
    return Table("searches", "Searches", heads, tuple(rows), ())
