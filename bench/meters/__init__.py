"""Meters: each file declares figures and measures them. Adding a meter is adding a file to this folder.

A figure is measured, or marked as an estimate with its source, or absent with a reason. `meter.py` is the contract and
`column.py` the declaration of a figure. What meters measure with stands in `instruments/`. Nothing heavy is imported
here or at the top of a meter's file, so that a report knows the columns without torch.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.meters.column import Column
    from bench.meters.meter import Meter


@cache
def shipped() -> tuple[type[Meter], ...]:
    """The meters of this folder, in the order in which their columns stand in tables.

    Examples:
        >>> "energy" in [meter.name for meter in shipped()]
        True
    """
    from bench.meters.column import GROUPS
    from bench.meters.meter import Meter

    classes = [
        value
        for info in iter_modules(__path__)
        if not info.ispkg
        for module in [import_module(f"{__name__}.{info.name}")]
        for value in vars(module).values()
        # A module may import a meter of another one, which is listed there.
        if isinstance(value, type) and issubclass(value, Meter) and value.__module__ == module.__name__
        if value is not Meter
    ]
    groups = list(GROUPS)
    return tuple(sorted(classes, key=lambda m: (min(groups.index(c.group) for c in m.columns), m.place, m.name)))


@cache
def columns() -> dict[str, Column]:
    """Key -> column of every figure of the shipped meters, by group, in the order of tables and documents.

    Examples:
        >>> columns()["train_live_bytes"].unit
        'bytes'
    """
    from bench.meters.column import GROUPS

    declared = [(column, meter.place) for meter in shipped() for column in meter.columns]
    groups = list(GROUPS)
    declared.sort(key=lambda pair: (groups.index(pair[0].group), pair[1]))  # stable: else as declared
    return {column.key: column for column, _ in declared}
