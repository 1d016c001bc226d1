"""Costs that are measured after a run, each in a process of its own that the grid starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.errors import described
from bench.meters.meter import Absent, Alone, Meter, Note, Shape, measured_keys, refuse_undeclared

if TYPE_CHECKING:
    from bench.records.record import Record
    from bench.records.spec import Job, RunSpec

Answer = tuple[dict[str, "int | float"], dict[str, str]]
"""Figures, and the reasons for those that are absent."""


def still_alone(record: Record, job: Job) -> dict[str, tuple[str, ...]]:
    """The meters that have yet to measure in a process of their own: what each is called by, and its keys.

    Args:
        record: of the run that was just done.
        job: what was asked.
    """
    from bench.costs.sheet import STILL_ALONE, measures_alone
    from bench.registry.meters import run_meters

    costs = None if record.result is None else record.result.costs
    if costs is None:
        return {}
    return {
        each.name: measured_keys(each.meter)
        for each in run_meters(job.measures.meters)
        if measures_alone(each.meter) and STILL_ALONE in map(costs.absent.get, measured_keys(each.meter))
    }


def shapes_of(record: Record) -> tuple[Shape, Shape]:
    """The shapes of the largest training batch and test batch of a run."""
    result = record.result
    train, test = (None, None) if result is None else (result.train_shape, result.test_shape)
    return train or (1, 1), test or (1, 1)


def answer_alone(name: str, run: RunSpec, shapes: tuple[Shape, Shape]) -> Answer:
    """Has one meter measure. Call it first in a process of its own: the meter may tune malloc, and torch comes after.

    Args:
        name: of the meter, as `still_alone` gives it.
        run: what was run.
        shapes: from `shapes_of`.
    """
    from bench.registry.meters import resolve_meter

    return _answer(resolve_meter(name).meter, Alone(run, *shapes))


def _answer(meter: Meter, run: Alone) -> Answer:
    try:
        figures = meter.alone(run)
        refuse_undeclared(meter, figures)
    except Exception as error:  # costs the meter's own figures
        return {}, dict.fromkeys(measured_keys(meter), described(error))
    absent = {key: value.reason for key, value in figures.items() if isinstance(value, Absent)}
    owed = [key for key in measured_keys(meter) if key not in figures]
    absent |= dict.fromkeys(owed, f"meter {meter.name} returned neither a number nor a reason")
    return {key: v for key, v in figures.items() if not isinstance(v, Absent | Note)}, absent
