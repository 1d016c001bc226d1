"""The summary in words: which method to use, how sure that is, what was not measured or only estimated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.tasks import score_named
from reports.columns.document import GROUPS
from reports.frame.panels import Panel
from reports.frame.searches import shares_searches
from reports.stats.intervals import LEVEL
from reports.stats.moderation import pair_spread
from reports.stats.seeds import MOST_SEEDS, rounded_up, seeds_to_detect
from reports.tables.answers import Advice
from reports.tables.budget import trials
from reports.tables.decision import Decision
from reports.tables.leader import Leader, no_leader
from reports.tables.notes import absence_sentences, energy_notes, joined, repeated_notes

NEAR_CONSTANT = 0.1
"""Scores that lie within this of what a constant prediction reaches are said to."""

EXPECTED = ("flops", "memory", "time", "energy", "effective")

NAMED = 4
"""Methods that a sentence names; more of them are counted."""

CLEAR = 0.03
"""A difference in score for which the number of seeds is given that would show it."""


def headline(panel: Panel, decision: Decision | None) -> tuple[str, str]:
    """The answer in two sentences: which method to use, and how sure that is."""
    if decision is None:
        return "Nothing can be recommended.", "No method has a score of every task."
    best = decision.standings[decision.best]
    what = f"mean score over {len(panel.columns)} tasks" if panel.sums_up else f"mean score {column_words(panel)}"
    tied = [m for m, one in decision.standings.items() if m != decision.best and abs(one.gap) < 1e-12]
    if not decision.claims and panel.seeds < 2:
        use = f"By a single seed {decision.best} scores highest: {best.score.mean:.3f}, {what}."
        return use, "One seed is an anecdote: run two or more, better five, before you choose."
    if not decision.claims:
        use = f"{decision.best} has the highest score, {best.score.mean:.3f} ({what})."
        return use, f"That is no recommendation: {no_leader(panel).removeprefix('no claim: ')}."
    named = [decision.best, *tied]
    verb = "has" if len(named) == 1 else "share"
    use = f"Use {joined(named) if not tied else ' or '.join(named)}: {'it' if not tied else 'they'} {verb} the highest "
    use += f"{what}, {best.score.mean:.3f}."
    how = _how_sure(decision)
    return use, f"At the settings chosen here: {how[0].lower()}{how[1:]}" if shares_searches(panel) else how


def _how_sure(decision: Decision) -> str:
    others = [m for m in decision.as_good if m != decision.best]
    worse = [m for m in decision.worse if m not in others]
    if decision.standings[decision.best].against.as_good:
        words = f"Fairly sure ({LEVEL:.0%}): no other method is better by more than {decision.margin:g}"
        words += f", and {_few(others)} {_are(others)} as good, less that margin" if others else ""
        return f"{words}."
    rivals = list(decision.may_be_best)
    if not rivals:
        return "No other method has enough runs to be compared with it."
    words = f"Not sure: after {decision.seeds} seeds {_few(rivals)} may be as good or better"
    words += f"; shown to be worse {_are(worse)} {_few(worse)}" if worse else "; no method is shown to be worse"
    return f"{words}."


def _few(names: Sequence[str]) -> str:
    """The names, or the first of them and how many more there are."""
    if len(names) <= NAMED + 1:
        return joined(names)
    return f"{', '.join(names[:NAMED])} and {len(names) - NAMED} more"


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def sure(panel: Panel, best: Leader | None, decision: Decision | None) -> list[str]:
    """How sure the answer is: runs and seeds, what they show, what it would take to show more, and what limits it."""
    words = [_runs(panel), *_setting(panel), *_score_words(panel, best, decision)]
    if decision is not None and decision.claims:
        words += _power(panel, decision)
    several = [f"{name} in {count}" for name, count in trials(panel).items() if count > 1]
    if several:
        words.append(f"Settings of hyper-parameters that were run: {joined(several)}, the other methods in one.")
    else:
        words.append(
            "Each method was run with one setting of its hyper-parameters. Another learning rate may change the order."
        )
    return words + repeated_notes(panel)


def missing(panel: Panel) -> list[str]:
    """What was not measured, with the reasons, and what is only an estimate."""
    return [*_missing(panel), *absence_sentences(panel), *energy_notes(panel)]


def terminal_lines(panel: Panel, decision: Decision | None, given: Sequence[Advice], *, brief: bool) -> list[str]:
    """What stands under the terminal's table, a line each, the most important first.

    Args:
        panel: of the table.
        decision: of it.
        given: its advice.
        brief: leaves the advice out.
    """
    use, how = headline(panel, decision)
    lines = [f"{use} {how}"]
    lost = panel.runs["status"].value_counts().drop("ok", errors="ignore")
    if len(lost):
        counts = joined([f"{count} {status}" for status, count in lost.items()])
        lines.append(f"Of {len(panel.runs)} runs {counts}; the report gives the reasons.")
    if brief:
        return lines
    for one in given:
        if one.method:
            loss = one.gives_up.partition(":")[0]
            lines.append(f"To {one.must}: {one.method}, {one.price.partition('; ')[0]}; gives up {loss}.")
    return lines


def _power(panel: Panel, decision: Decision) -> list[str]:
    """How many seeds would show that a method is as good, or worse; an order of magnitude."""
    place = panel.places[0]
    scores = panel.scores_at(place)
    names = [m for m in decision.standings if decision.standings[m].against.interval is not None]
    rivals = [m for m in decision.may_be_best if m in names and m not in decision.as_good] or [
        m for m in names if m != decision.best and decision.standings[m].trains
    ]
    if decision.best not in names or not rivals:
        return []
    cube = np.stack([scores[method] for method in names])
    first, second = np.triu_indices(len(names), 1)
    still = np.array([method in panel.still for method in names])
    spread = pair_spread(cube, first, second, panel.resolution(place), still)
    at = [
        number
        for number, (one, other) in enumerate(zip(first, second, strict=True))
        if {names[one], names[other]} in [{decision.best, rival} for rival in rivals] and spread.variances[number] > 0
    ]
    if not at:
        return []
    middle = at[int(np.argsort(spread.variances[at])[len(at) // 2])]
    error, freedom = float(np.sqrt(spread.variances[middle])), float(spread.freedom[middle])
    alphas = {"as good": 2 * (1 - LEVEL) / (len(names) - 1), "worse": (1 - LEVEL) / len(first)}
    equal, lower = (
        seeds_to_detect(size, error=error, freedom=freedom, seeds=panel.seeds, alpha=alphas[which]) if size else None
        for which, size in (("as good", decision.margin), ("worse", CLEAR))
    )
    return [
        f"How many seeds it takes, four times in five, if seeds differ as much as these {panel.seeds} do: about "
        f"{_seeds(lower)} to show that a method {CLEAR:g} below the best is worse, and about {_seeds(equal)} to show "
        f"that an equal one is as good, less {decision.margin:g}. From so few seeds that is a rough figure."
    ]


def _seeds(count: int | None) -> str:
    return f"more than {MOST_SEEDS:,}" if count is None else f"{rounded_up(count)}"


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


def _score_words(panel: Panel, best: Leader | None, decision: Decision | None = None) -> list[str]:
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
    if decision is not None and decision.as_good:
        words.append(
            f"Shown to be as good as the best method, less {decision.margin:g}: {joined(decision.as_good)} "
            f"({LEVEL:.0%} for all methods together)."
        )
    elif decision is not None:
        words.append(f"Shown to be as good as the best method, less {decision.margin:g}: none yet.")
    if best.close:
        words.append(
            f"Not more than noise can do at these seeds: its lead over {joined(best.close)}. "
            "That is no proof of equality."
        )
    if below := [method for method in best.close if method in best.always_below]:
        words.append(f"Of these, {joined(below)} scored lower in every single run.")
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
            "test would find four times in five with so many seeds; smaller ones mostly stay hidden."
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
