"""Checks the contract of a meter: what it declares, and what it returns in a tiny run."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bench.errors import AlteredError, described
from bench.meters import shipped
from bench.meters.column import Column
from bench.meters.meter import Finding, Meter, measured_keys
from bench.records.spec import Measures, ModelSpec, Protocol, RunSpec
from bench.registry.meters import ResolvedMeter, resolve_meter, wrong_with

_RAISED = re.compile(r"\w*(Error|Exception|Exit|Iteration|Interrupt): ")
"""The beginning of the reason that is recorded if a hook raised an error."""

_BARE = Measures(effective=False, energy=False, resident=False, weights="none")
"""The tiny run measures nothing that takes long."""


def broken_promises(meter: str | type[Meter]) -> list[str]:
    """Checks every promise of a meter; returns a line for each broken one, so that an empty list is good.

    Args:
        meter: a name as the command line takes it, or the class.

    Raises:
        UserError: there is no such file or name, or what it stands for is not a valid meter.
    """
    if isinstance(meter, str):
        resolved = resolve_meter(meter)
    else:
        reason = None if meter in shipped() else wrong_with(meter)
        if reason is not None:
            return [f"{meter.__name__} {reason}"]
        resolved = ResolvedMeter(meter.name, meter(), "the class itself")
    return [*_declared(type(resolved.meter)), *_findings(resolved.meter), *_in_run(resolved)]


def _declared(meter: type[Meter]) -> Iterator[str]:
    """Yields what is wrong with the columns that a meter declares."""
    for column in meter.columns:
        for name in ("label", "says", "formula", "meter", "error"):
            if not str(getattr(column, name)).strip():
                yield f"column {column.key}: {name} is empty; tables and docs/definitions.md show it"
        yield from _unit(column)


def _unit(column: Column) -> Iterator[str]:
    endings = {"s": "_s", "ms": "_ms", "bytes": "_bytes", "J": "_joules", "kg": "_kg", "1/s": "_per_s"}
    ending = endings.get(column.unit)
    if ending is not None and not column.key.endswith(ending):
        yield f"column {column.key}: its unit is {column.unit}, so its key ends in {ending}"


def _findings(meter: Meter) -> Iterator[str]:
    try:
        for finding in meter.doctor():
            if not isinstance(finding, Finding):
                yield f"doctor() gave {finding!r}; give bench.meters.meter.Finding objects"
    except Exception as error:  # an author's code may raise anything
        yield f"doctor() raised {described(error)}"


def _in_run(resolved: ResolvedMeter) -> Iterator[str]:
    """Yields what is wrong with the figures of a meter in a tiny run."""
    from bench.run import execute

    try:
        result = execute(_tiny(), measures=_BARE, meters=[resolved]).record.result
    except AlteredError as error:
        yield str(error)
        return
    assert result is not None
    assert result.costs is not None
    for key in measured_keys(resolved.meter):
        reason = result.costs.absent.get(key)
        if reason is not None and (reason.startswith(f"meter {resolved.meter.name} returned") or _RAISED.match(reason)):
            yield f"{key}: {reason}"


def _tiny() -> RunSpec:
    """Makes a run that takes a second: one epoch on 16 rows of the made-up task."""
    from bench.registry.methods import resolve_method
    from bench.registry.tasks import resolve_task

    return RunSpec(
        method=resolve_method("head").spec,
        task=resolve_task("synthetic").spec,
        model=ModelSpec(name="tiny", revision="seed 0"),
        k=16,
        data_seed=0,
        model_seed=0,
        protocol=Protocol(dev=8, epochs=1, batch_size=8, max_length=32, head="mean", threads=1),
    )
