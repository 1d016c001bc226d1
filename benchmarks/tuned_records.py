"""Made-up records of a tuned comparison: trials, and the runs with what was chosen. Tests of reports use them.

This module is no benchmark and has no command.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.records.record import Record
from bench.records.spec import RunSpec, Search
from bench.tuning.choice import EXTENSION, Trial, choose, extension_trials
from bench.tuning.space import FIRST_TRIAL_SEED, Axis, Space, trial_seeds
from benchmarks.records import METHODS, TASKS, records
from methods.kit.base import INSERTED_RATES, THAWED_RATES

BEST_RATES = {"full": 10**-4.2, "lora": 10**-2.0, "prefix": 10**-1.75, "adapter": 10**-2.7, "unipelt-apl": 10**-2.8}
"""Method -> the learning rate at which its score is highest; of others 10 ** -2.3."""

FALL = 0.08
"""How much the score falls a decade squared from the best rate."""

CLIFF = 1.1
"""Decades above the best rate from which a trial fails."""


def tuned_records(
    *,
    methods: Sequence[str] = METHODS,
    tasks: Sequence[str] = TASKS,
    trials: int = 12,
    searches: int = 5,
    seeds: int = 5,
    joules: bool = False,
) -> list[Record]:
    """A comparison in which the learning rate of all methods but majority was searched, with draws beyond an edge.

    Args:
        methods: labels, as in `benchmarks.records`.
        tasks: labels.
        trials: draws of each search.
        searches: how many, shared by the seeds in turn.
        seeds: of the runs that are scored on the test rows.
        joules: every run has read a hardware counter.
    """
    made: list[Record] = []
    for run in records(methods=methods, tasks=tasks, seeds=seeds):
        number = run.asked.data_seed % searches
        axis = axis_of(run.asked.method.name)
        of_search: list[Record] = []
        chosen: dict[str, Any] = {}
        if axis is not None:
            of_search, chosen = _search(run, axis, trials, number)
        if run.asked.data_seed < searches:
            made += of_search
        made.append(_chosen(run, axis, trials, number, chosen))
    return [_with_joules(record) for record in made] if joules else made


def axis_of(method: str) -> Axis | None:
    """The range of a method's learning rates; None where nothing is trained."""
    if method == "majority":
        return None
    low, high = THAWED_RATES if method == "full" else INSERTED_RATES
    return Axis(low=low, high=high)


def _search(run: Record, axis: Axis, trials: int, number: int) -> tuple[list[Record], dict[str, Any]]:
    space = Space(axes={"learning_rate": axis})
    rates = [settings["learning_rate"] for settings in space.settings(trials, seed=number)]
    of_search = [_trial(run, axis, rate, trials, number, draw) for draw, rate in enumerate(rates)]
    choice = choose([_tried(record) for record in of_search], axis)
    if choice is not None and choice.edge is not None:
        piece = Space(axes={"learning_rate": axis.beyond(choice.edge, EXTENSION)})
        more = piece.settings(extension_trials(trials), seed=number, first=trials)
        of_search += [
            _trial(run, axis, settings["learning_rate"], trials, number, trials + place)
            for place, settings in enumerate(more)
        ]
        choice = choose([_tried(record) for record in of_search], axis)
    assert choice is not None
    return of_search, {"rate": choice.rate, "edge": choice.edge}


def _tried(record: Record) -> Trial:
    result = record.result
    score = None if result is None or result.dev_scores is None else result.dev_scores[result.headline]
    return Trial(record.asked.method.fields["learning_rate"], score)


def _trial(run: Record, axis: Axis, rate: float, trials: int, number: int, draw: int) -> Record:
    search = Search(role="trial", trials=trials, number=number, draw=draw, space=_fields(axis))
    data_seed, seed = FIRST_TRIAL_SEED + number, trial_seeds(draw + 1, number)[draw]
    asked = _asked(run, rate, search, data_seed, seed)
    away = math.log10(rate / _best_rate(run.asked.method.name))
    if away > CLIFF:
        return run.model_copy(
            update={"asked": asked, "digest": asked.digest, "status": "failed", "reason": "diverged", "result": None}
        )
    generator = np.random.default_rng(int(asked.digest, 16))
    assert run.result is not None
    mean = run.result.test_scores[run.result.headline] - FALL * away**2
    dev = round(float(np.clip(mean + generator.normal(0, 0.015), 0, 1)) * 1000) / 1000
    result = run.result.model_copy(update={"test_scores": {}, "dev_scores": {run.result.headline: dev}})
    return run.model_copy(update={"asked": asked, "digest": asked.digest, "result": result})


def _chosen(run: Record, axis: Axis | None, trials: int, number: int, chosen: dict[str, Any]) -> Record:
    edge = chosen.get("edge")
    search = Search(
        role="chosen",
        trials=trials,
        number=number,
        space={} if axis is None else _fields(axis),
        at_edge={} if edge is None else {"learning_rate": edge},
    )
    rate = chosen.get("rate", run.asked.method.fields["learning_rate"])
    asked = _asked(run, rate, search, run.asked.data_seed, run.asked.model_seed)
    return run.model_copy(update={"asked": asked, "digest": asked.digest})


def _asked(run: Record, rate: float, search: Search, data_seed: int, model_seed: int) -> RunSpec:
    return run.asked.model_copy(
        update={
            "method": run.asked.method.with_values({"learning_rate": rate}),
            "data_seed": data_seed,
            "model_seed": model_seed,
            "search": search,
        }
    )


def _fields(axis: Axis) -> dict[str, dict[str, Any]]:
    return {"learning_rate": axis.model_dump(mode="json", exclude_defaults=True)}


def _best_rate(method: str) -> float:
    return BEST_RATES.get(method, 10**-2.3)


def _with_joules(record: Record) -> Record:
    if record.result is None or record.result.costs is None or not record.result.steps:
        return record
    costs = record.result.costs
    figures = {**costs.figures, "train_energy_measured_joules": 5.0}
    kept = costs.model_copy(update={"figures": figures, "absent": {}})
    return record.model_copy(update={"result": record.result.model_copy(update={"costs": kept})})
