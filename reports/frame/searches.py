"""The searches behind the runs of a comparison: which trials led to which run, and what they cost.

A run that was trained anew has its search's number and size in its record, and a trial has its place among the draws.
The trials of a run are those of the same method, task, model, size and protocol whose draw its search made. More
trials prolong the same draws, so that a trial may serve searches of several sizes: whether it lies beyond an end of the
range is seen by the size that it was first made for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bench.records.spec import RATES, RunSpec, Search
from bench.records.store import Record
from bench.tuning.choice import Edge, Trial, curve_scores
from reports.frame.trials import trials_of, without_trials

if TYPE_CHECKING:
    from reports.frame.panels import Panel

REFERENCE = "full"
"""The method whose cost is 1 in the ratio of costs with tuning."""

JOULES, EACH_FLOPS = "train_energy_measured_joules", "train_flops_per_example"


@dataclass(frozen=True)
class Tried:
    """One trial.

    Attributes:
        search: its number.
        values: searched hyper-parameter -> what was tried.
        score: on the dev rows; None where the trial failed.
        original: whether it is one of the search's own draws, which are independent of the scores; a draw beyond an
            end of the range is not, because it was made only where the best one stood there.
        costs: column of a single run -> figure; what was not measured is missing.
    """

    search: int
    values: Mapping[str, Any]
    score: float | None
    original: bool
    costs: Mapping[str, float]


@dataclass(frozen=True)
class Chosen:
    """What a search chose, as the runs that were trained anew have it."""

    search: int
    values: Mapping[str, Any]
    at_edge: Mapping[str, Edge]
    seeds: int


@dataclass(frozen=True)
class Searched:
    """All searches for one method in one column of a panel.

    Attributes:
        method: its label.
        place: the column.
        draws: of each search, without those beyond an end.
        space: searched hyper-parameter -> the fields of its axis; empty: nothing is searched.
        trials: of all its searches.
        chosen: one for each search.
        retrained: column of a single run -> the sum over the runs that were trained anew; missing where one lacks it.
    """

    method: str
    place: str
    draws: int
    space: Mapping[str, Mapping[str, Any]]
    trials: tuple[Tried, ...]
    chosen: tuple[Chosen, ...]
    retrained: Mapping[str, float]

    @property
    def axis(self) -> str | None:
        """The first searched hyper-parameter that is a range on a logarithmic scale, such as the learning rate."""
        return next((name for name, fields in self.space.items() if _is_log(fields)), None)

    @property
    def failed(self) -> int:
        """How many trials have no score."""
        return sum(trial.score is None for trial in self.trials)

    @property
    def shared(self) -> bool:
        """Whether several seeds rest on one search, so that their spread leaves out the luck of searching."""
        return bool(self.trials) and any(chosen.seeds > 1 for chosen in self.chosen)

    def rate(self, trial: Tried) -> float:
        """The trial's value of `axis`."""
        return math.nan if self.axis is None else float(trial.values[self.axis])

    def scores(self, floor: float, trials: Sequence[Tried] | None = None) -> list[float]:
        """The score of each trial on dev; a failed one has the floor's."""
        chosen = self.trials if trials is None else trials
        return curve_scores([Trial(self.rate(trial), trial.score) for trial in chosen], floor=floor)

    @cached_property
    def originals(self) -> tuple[Tried, ...]:
        """The independent draws: what a tuning curve may rest on."""
        return tuple(trial for trial in self.trials if trial.original)

    def cost(self, key: str) -> float | None:
        """Of all trials; None where it was not measured for each that finished."""
        return summed(self.trials, key)


def _is_log(fields: Mapping[str, Any]) -> bool:
    return not fields.get("choices") and fields.get("scale", "log") == "log"


def summed(trials: Sequence[Tried], key: str) -> float | None:
    """A cost over all trials: a failed one counts as the mean of those that finished.

    Returns:
        None where one that finished lacks it, or none finished.
    """
    values = [trial.costs.get(key) for trial in trials if trial.score is not None]
    known = [value for value in values if value is not None]
    if not trials:
        return 0.0
    return None if len(known) < len(values) or not known else sum(known) / len(known) * len(trials)


class Trials:
    """The trials of a comparison's records, found by the run that rests on them.

    Attributes:
        joules: whether a hardware counter was read in any run.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self._by_search: dict[tuple[Any, ...], list[Record]] = {}
        for record in trials_of(records):
            search = _search(record)
            self._by_search.setdefault((*_cell(record.asked), search.number), []).append(record)
        self._flops: dict[tuple[Any, ...], float] = {}
        self.joules = any(JOULES in _figures(record) for record in records)
        for record in records:
            each = _figures(record).get(EACH_FLOPS)
            if each is not None:
                self._flops.setdefault(_counted_alike(record.asked), float(each))

    def of(self, run: Record) -> list[Tried]:
        """The trials of a run's search, in the order in which they were drawn."""
        chosen = _search(run)
        found: list[tuple[int, Tried]] = []
        for record in self._by_search.get((*_cell(run.asked), chosen.number), ()):
            trial = _search(record)
            assert trial.draw is not None
            original = trial.draw < min(trial.trials, chosen.trials)
            beyond = trial.draw >= trial.trials and trial.trials == chosen.trials
            if trial.space == chosen.space and (original or beyond):
                found.append((trial.draw, self._tried(record, trial, original=original)))
        return [tried for _, tried in sorted(found, key=lambda pair: pair[0])]

    def _tried(self, record: Record, search: Search, *, original: bool) -> Tried:
        result = record.result
        dev = None if result is None else (result.dev_scores or {}).get(result.headline)
        return Tried(
            search=search.number,
            values={name: record.asked.method.fields[name] for name in search.space},
            score=dev if dev is not None and math.isfinite(dev) else None,
            original=original,
            costs=self.costs(record),
        )

    def costs(self, record: Record) -> dict[str, float]:
        """FLOPs, seconds and joules of one run's training; what was not measured is missing."""
        result = record.result
        if result is None:
            return {}
        if not result.steps:
            return {"train_flops": 0.0, "train_time_s": 0.0, **({JOULES: 0.0} if self.joules else {})}
        figures = _figures(record)
        each = self._flops.get(_counted_alike(record.asked))
        found = {
            "train_flops": figures.get("train_flops", None if each is None else each * _examples(record)),
            "train_time_s": result.train_time_s,
            JOULES: figures.get(JOULES),
        }
        return {key: float(value) for key, value in found.items() if value is not None}


def _search(record: Record) -> Search:
    search = record.asked.search
    assert search is not None
    return search


def _figures(record: Record) -> Mapping[str, float]:
    return {} if record.result is None or record.result.costs is None else record.result.costs.figures


def _examples(record: Record) -> float:
    """Training examples that passed through a run, repetitions among them."""
    result = record.result
    assert result is not None
    batches = math.ceil(result.train_examples / record.asked.protocol.batch_size)
    return result.steps / batches * result.train_examples


def _cell(run: RunSpec) -> tuple[Any, ...]:
    """What trials share with the runs that rest on them, whatever was searched."""
    method = run.method if run.search is None else run.method.without(run.search.space)
    return (run.method.label, method.key_text, *_place(run))


def _counted_alike(run: RunSpec) -> tuple[Any, ...]:
    """What FLOPs an example depend on: all but seeds, which pad batches a little differently, and learning rates."""
    return (run.method.without(RATES).key_text, *_place(run))


def _place(run: RunSpec) -> tuple[Any, ...]:
    return run.task.key_text, run.model.key_text, run.k, run.protocol.key_text


def tuning_figures(records: Sequence[Record]) -> list[tuple[dict[str, Any], dict[str, str]]]:
    """For each run that is scored on the test rows: its search's number and cost, and why parts of it are absent.

    Args:
        records: of a comparison, trials among them.

    Returns:
        A pair for each of `without_trials(records)`, both empty for a run without a search. The figures are those of
        `reports.columns.tuning`; `search` is the number.
    """
    runs = without_trials(records)
    if all(run.asked.search is None for run in runs):
        return [({}, {})] * len(runs)
    trials = Trials(records)
    sharing: dict[tuple[Any, ...], int] = {}
    for run in runs:
        sharing[_group(run)] = sharing.get(_group(run), 0) + 1
    rows = [_row(run, trials, sharing[_group(run)]) for run in runs]
    _add_ratios(runs, rows, trials)
    return rows


def _group(run: Record) -> tuple[Any, ...]:
    search = run.asked.search
    return () if search is None else (*_cell(run.asked), search.trials, search.number)


def _row(run: Record, trials: Trials, sharing: int) -> tuple[dict[str, Any], dict[str, str]]:
    search = run.asked.search
    if search is None:
        return {}, {}
    tried = trials.of(run)
    figures: dict[str, Any] = {"search": search.number, "tuning_trials": len(tried)}
    absent: dict[str, str] = {}
    if search.space and not tried:
        gone = "its trials are not in this folder"
        return {"search": search.number}, dict.fromkeys(("tuning_trials", *_SUMS), gone)
    for key, of in _SUMS.items():
        cost = summed(tried, of) if tried or of != JOULES or trials.joules else None
        if cost is None:
            absent[key] = _WHY[of]
        else:
            figures[key] = cost / sharing
    return figures, absent


_SUMS = {
    "tuning_train_flops": "train_flops",
    "tuning_train_time_s": "train_time_s",
    "tuning_train_energy_measured_joules": JOULES,
}
_WHY = {
    "train_flops": "FLOPs were not counted for its trials",
    "train_time_s": "its trials have no training seconds",
    JOULES: "no hardware counter was read in its trials",
}


def _add_ratios(runs: Sequence[Record], rows: Sequence[tuple[dict[str, Any], dict[str, str]]], trials: Trials) -> None:
    """FLOPs with tuning over the mean of the reference's."""
    key, totals = "tuned_train_flops_ratio", []
    references: dict[tuple[Any, ...], list[float]] = {}
    for run, (figures, _) in zip(runs, rows, strict=True):
        tuning, training = figures.get("tuning_train_flops"), trials.costs(run).get("train_flops")
        total = None if tuning is None or training is None else tuning + training
        totals.append(total)
        if total is not None and run.asked.method.name == REFERENCE:
            references.setdefault(_compared(run), []).append(total)
    for run, (figures, absent), total in zip(runs, rows, totals, strict=True):
        of = references.get(_compared(run))
        if run.asked.search is None:
            continue
        if total is None:
            absent[key] = absent.get("tuning_train_flops", "FLOPs were not counted for this run")
        elif not of:
            absent[key] = f"no run of {REFERENCE} with counted FLOPs stands beside it"
        else:
            figures[key] = total / (sum(of) / len(of))


def _compared(run: Record) -> tuple[Any, ...]:
    search = run.asked.search
    return (*_place(run.asked), None if search is None else search.trials)


def searches_of(panel: Panel, records: Sequence[Record]) -> list[Searched]:
    """The searches behind a panel's runs, by method and column, in the panel's order.

    Args:
        panel: made of `records`.
        records: of the report, trials among them.
    """
    if "search" not in panel.runs:
        return []
    runs, trials = without_trials(records), Trials(records)
    groups = panel.runs[panel.runs["search"].notna()].groupby(["method", panel.by], sort=False)
    # The rows of the frame are numbered as the runs are.
    found = {key: [runs[row] for row in group.index] for key, group in groups}
    return [
        _searched(method, place, found[method, place], trials)
        for place in panel.columns
        for method in panel.methods
        if (method, place) in found
    ]


def _searched(method: str, place: str, runs: Sequence[Record], trials: Trials) -> Searched:
    first: dict[int, Record] = {}
    for run in runs:
        first.setdefault(_search(run).number, run)
    retrained = [trials.costs(run) for run in runs if run.result is not None]
    shared = set.intersection(*map(set, retrained)) if retrained else set()
    return Searched(
        method=method,
        place=place,
        draws=_search(runs[0]).trials,
        space=_search(runs[0]).space,
        trials=tuple(tried for run in first.values() for tried in trials.of(run)),
        chosen=tuple(_chosen(runs, number) for number in sorted(first)),
        retrained={key: sum(costs[key] for costs in retrained) for key in shared},
    )


def _chosen(runs: Sequence[Record], number: int) -> Chosen:
    of = [run for run in runs if _search(run).number == number]
    search = _search(of[0])
    values = {name: of[0].asked.method.fields[name] for name in search.space}
    return Chosen(number, values, search.at_edge, len(of))


def floor_of(panel: Panel, place: str) -> tuple[float, str]:
    """What a failed trial counts with, and in words what that is.

    It is the score of a method that trains nothing, of the test rows, for it has none on dev. Where none was run it is
    the least score that is possible.
    """
    still = {m: panel.scores[m, place].mean for m in panel.still if (m, place) in panel.scores}
    if still:
        least = min(still, key=lambda method: still[method])
        return still[least], f"the score of {least}, which trains nothing ({still[least]:.3f}, of the test rows)"
    low, _ = panel.bounds(place)
    if math.isfinite(low):
        return low, f"the least score there can be ({low:g}), since no method that trains nothing was run"
    return 0.0, "0, since the score's range is not known"


def shares_searches(panel: Panel) -> bool:
    """Whether several seeds of a method rest on one search, so that their spread leaves out the luck of searching."""
    if "tuning_trials" not in panel.runs:
        return False
    searched = panel.runs[panel.runs["tuning_trials"] > 0]
    return bool(searched.duplicated(["method", "task", "model", "k", "search"]).any())


def shared_words(found: Sequence[Searched]) -> str:
    """How far the comparison of the runs reaches: a clause for sentences; empty where each seed has its own search."""
    return " at the settings chosen here" if any(each.shared for each in found) else ""


def by_place(found: Sequence[Searched]) -> Iterator[tuple[str, list[Searched]]]:
    """Searches by column, without methods that have nothing to search."""
    for place in dict.fromkeys(each.place for each in found):
        searched = [each for each in found if each.place == place and each.trials]
        if searched:
            yield place, searched
