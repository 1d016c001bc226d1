"""A search for each method and task: trials on the dev rows, a choice, and runs trained anew with what was chosen.

A comparison under equal budgets has as many searches as it asks for, each with draws, training rows and trial seeds
of its own. Every method gets the same draws. The seeds of the comparison share the searches in turn. With as many
searches as seeds, each run that is scored on the test rows stands for a search of its own, so that the spread over the
seeds holds the luck of searching too. (With one search for all seeds it does not: of eight equal methods one is then
called better in 30% of comparisons, `python -m benchmarks.decisions`.)

Nothing is kept beside the records: what comes next is computed from those that are there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.grid.plan import Plan
from bench.records.record import Record
from bench.records.spec import RunSpec, Search
from bench.tuning.choice import EXTENSION, Edge, Trial, choose, extension_trials, is_finished
from bench.tuning.space import FIRST_TRIAL_SEED, Axis, Space, trial_seeds

Records = Mapping[str, Record]
"""By digest."""


@dataclass(frozen=True)
class Budget:
    """How much each method may try on each task.

    Attributes:
        trials: draws of one search.
        searches: how many there are.
    """

    trials: int
    searches: int


@dataclass(frozen=True)
class Chosen:
    """What a search found.

    Attributes:
        values: hyper-parameter -> value of the best trial; empty where nothing is searched.
        at_edge: hyper-parameter -> the end of its range at which the value stands, after the range was extended.
        failed: why there is nothing to train anew with; None: there is.
    """

    values: Mapping[str, Any]
    at_edge: Mapping[str, Edge]
    failed: str | None = None


def phases(todo: Plan, budget: Budget, records: Records, *, choose_only: bool = False) -> Iterator[Plan]:
    """The plans that carry out a comparison under equal budgets, one after another.

    Each is computed when it is asked for, from what the records hold by then: the trials; further ones beyond the ends
    at which a choice stands; and the runs with what was chosen.

    Args:
        todo: the comparison without a search.
        budget: of each method and task.
        records: of the folder, which is to hold those of a plan before the next one is asked for.
        choose_only: leaves out the last plan.
    """
    cells = _cells(todo)
    quick = todo.measures.model_copy(
        update={"effective": False, "resident": False, "profile": False, "weights": "none"}
    )
    trials = [run for number in range(budget.searches) for cell in cells for run in _trials(cell, todo, budget, number)]
    # The first draw of every method comes before the second of any: an early end leaves something to compare.
    trials.sort(key=lambda run: (run.search.number, run.search.draw) if run.search else (0, 0))
    yield replace(todo, runs=trials, unsupported={}, measures=quick)
    extensions = [
        run
        for number in range(budget.searches)
        for cell in cells
        for run in _beyond(cell, todo, budget, number, records)
    ]
    if extensions:
        yield replace(todo, runs=extensions, unsupported={}, measures=quick, remarks=())
    if not choose_only:
        yield replace(_trained_anew(todo, budget, records), jobs=1)  # their times are reported


def chosen(cell: RunSpec, todo: Plan, budget: Budget, number: int, records: Records) -> Chosen:
    """What a search chose for a method on a task, from the records of its trials.

    Args:
        cell: any run of the method, task and size.
        todo: the comparison without a search.
        budget: of each method and task.
        number: of the search.
        records: those of all its trials.
    """
    space = todo.spaces.get(cell.method.label)
    if space is None:
        return Chosen({}, {})
    runs = [*_trials(cell, todo, budget, number), *_beyond(cell, todo, budget, number, records)]
    scored = [(run, _score(run, records)) for run in runs]
    finished = [(run, score) for run, score in scored if is_finished(Trial(1.0, score))]
    if not finished:
        first = records[runs[0].digest].reason
        return Chosen({}, {}, f"all {len(runs)} trials failed, the first of them: {first}")
    axis = _ordered(space)
    if axis is None:
        best, _ = max(finished, key=lambda pair: pair[1] or 0.0)
        return Chosen(_values(best, space), {})
    edge = _edge(cell, todo, budget, number, records)
    extended = space.axes[axis] if edge is None else _joined(space.axes[axis], edge)
    choice = choose([Trial(run.method.fields[axis], score) for run, score in scored], extended)
    assert choice is not None  # one is finished
    return Chosen(_values(runs[choice.at], space), {} if choice.edge is None else {axis: choice.edge})


def _cells(todo: Plan) -> list[RunSpec]:
    """One run of each method, task and size, without those that the model does not support."""
    cells: dict[tuple[str, str], RunSpec] = {}
    for run in todo.runs:
        if run.digest not in todo.unsupported:
            cells.setdefault((run.method.label, run.seedless_digest), run)
    return list(cells.values())


def _trials(cell: RunSpec, todo: Plan, budget: Budget, number: int) -> list[RunSpec]:
    space = todo.spaces.get(cell.method.label)
    if space is None:
        return []
    settings = space.settings(budget.trials, seed=number)
    return _as_runs(cell, space, settings, budget, number, first=0)


def _beyond(cell: RunSpec, todo: Plan, budget: Budget, number: int, records: Records) -> list[RunSpec]:
    """Further trials, where the choice among the first ones stands at an end of the range."""
    space = todo.spaces.get(cell.method.label)
    edge = _edge(cell, todo, budget, number, records)
    if space is None or edge is None:
        return []
    axis = _ordered(space)
    assert axis is not None  # it has the edge
    piece = Space(axes={**space.axes, axis: space.axes[axis].beyond(edge, EXTENSION)})
    settings = piece.settings(extension_trials(budget.trials), seed=number, first=budget.trials)
    return _as_runs(cell, space, settings, budget, number, first=budget.trials)


def _edge(cell: RunSpec, todo: Plan, budget: Budget, number: int, records: Records) -> Edge | None:
    """The end of the range at which the choice among the first trials stands."""
    space = todo.spaces.get(cell.method.label)
    axis = None if space is None else _ordered(space)
    if space is None or axis is None:
        return None
    runs = _trials(cell, todo, budget, number)
    choice = choose([Trial(run.method.fields[axis], _score(run, records)) for run in runs], space.axes[axis])
    if choice is None or (choice.edge == "low" and space.axes[axis].low == 0):  # nothing lies below 0
        return None
    return choice.edge


def _as_runs(
    cell: RunSpec, space: Space, settings: Sequence[Mapping[str, Any]], budget: Budget, number: int, *, first: int
) -> list[RunSpec]:
    seeds = trial_seeds(first + len(settings), number)[first:]
    axes = _as_fields(space)
    return [
        cell.model_copy(
            update={
                "method": cell.method.with_values(values),
                "data_seed": FIRST_TRIAL_SEED + number,
                "model_seed": seed,
                "search": Search(role="trial", trials=budget.trials, number=number, draw=first + place, space=axes),
            }
        )
        for place, (values, seed) in enumerate(zip(settings, seeds, strict=True))
    ]


def _trained_anew(todo: Plan, budget: Budget, records: Records) -> Plan:
    """The runs that are scored on the test rows."""
    runs, unsupported = [], {}
    places: dict[tuple[str, str], int] = {}  # of each method, task and size: how many of its seeds were passed
    for run in todo.runs:
        cell = (run.method.label, run.seedless_digest)
        number = places.get(cell, 0) % budget.searches
        places[cell] = places.get(cell, 0) + 1
        reason = todo.unsupported.get(run.digest)
        choice = Chosen({}, {}) if reason else chosen(run, todo, budget, number, records)
        space = todo.spaces.get(run.method.label)
        again = run.model_copy(
            update={
                "method": run.method.with_values(choice.values),
                "search": Search(
                    role="chosen",
                    trials=budget.trials,
                    number=number,
                    space={} if space is None else _as_fields(space),
                    at_edge=dict(choice.at_edge),
                ),
            }
        )
        runs.append(again)
        if reason or choice.failed:
            unsupported[again.digest] = reason or choice.failed or ""
    return replace(todo, runs=runs, unsupported=unsupported, remarks=())


def _score(run: RunSpec, records: Records) -> float | None:
    """The headline's score of a trial on the dev rows; None where it failed or the score is undefined."""
    result = records[run.digest].result
    return None if result is None or result.dev_scores is None else result.dev_scores.get(result.headline)


def _ordered(space: Space) -> str | None:
    """The first axis that is a range: ties and ends are looked at along it."""
    return next((name for name, axis in space.axes.items() if not axis.choices), None)


def _joined(axis: Axis, edge: Edge) -> Axis:
    """A range with the piece beyond one of its ends."""
    piece = axis.beyond(edge, EXTENSION)
    return axis.model_copy(update={"low": piece.low} if edge == "low" else {"high": piece.high})


def _values(run: RunSpec, space: Space) -> dict[str, Any]:
    return {name: run.method.fields[name] for name in space.axes}


def _as_fields(space: Space) -> dict[str, dict[str, Any]]:
    return {name: axis.model_dump(mode="json", exclude_defaults=True) for name, axis in space.axes.items()}
