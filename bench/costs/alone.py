"""Costs that are measured after a run, each in a process of its own that the grid starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.errors import described
from bench.meters.meter import Absent, Alone, Meter, Note, Shape, measured_keys, refuse_undeclared

if TYPE_CHECKING:
    from bench.records.record import Record
    from bench.records.spec import Job, RunSpec

Answer = tuple[dict[str, "int | float"], dict[str, str]]
"""Key -> figure, and key -> the reason why this figure is absent."""


def still_alone(record: Record, job: Job) -> dict[str, tuple[str, ...]]:
    """Which meters still have to measure in a process of their own.

    Args:
        record: of the run that has just ended.
        job: the job of this run.

    Returns:
        Name of the meter -> the keys of its figures.
    """
    from bench.costs.sheet import measures_alone
    from bench.records.record import STILL_ALONE
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
    """The shapes, (rows, tokens), of the largest training batch and the largest test batch of a run."""
    result = record.result
    train, test = (None, None) if result is None else (result.train_shape, result.test_shape)
    return train or (1, 1), test or (1, 1)


def answer_alone(name: str, run: RunSpec, shapes: tuple[Shape, Shape]) -> Answer:
    """Lets one meter measure. Call it in a new process before torch is imported, since the meter may tune malloc.

    Args:
        name: the name of the meter, as `still_alone` gives it.
        run: the specification of the run.
        shapes: those that `shapes_of` gives.
    """
    from bench.registry.meters import resolve_meter

    return _answer(resolve_meter(name).meter, Alone(run, *shapes))


def _answer(meter: Meter, run: Alone) -> Answer:
    try:
        figures = meter.alone(run)
        refuse_undeclared(meter, figures)
    except Exception as error:  # an error of a meter loses the figures of this meter, never the run
        return {}, dict.fromkeys(measured_keys(meter), described(error))
    absent = {key: value.reason for key, value in figures.items() if isinstance(value, Absent)}
    owed = [key for key in measured_keys(meter) if key not in figures]
    absent |= dict.fromkeys(owed, f"meter {meter.name} returned neither a number nor a reason")
    return {key: v for key, v in figures.items() if not isinstance(v, Absent | Note)}, absent
