"""Finds the meter that a name stands for: a shipped meter, one in a file (`my.py:Mine`), or one of a package."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.errors import UserError, described, near
from bench.meters import columns, shipped
from bench.meters.column import GROUPS, Column
from bench.meters.meter import Meter
from bench.registry import plugins

METER_GROUP = "tunebench.meters"

RESERVED = frozenset(
    (
        *("setting", "method", "method_name", "task", "model", "k", "protocol", "data_seed", "model_seed", "seed"),
        *("status", "reason", "digest", "wall_time_s", "allocator", "headline", "train_examples", "repeated_examples"),
        *("test_examples", "absent", "declared", "energy_source", "steps", "profile", "profile_suspect", "pscp", "ppt"),
    )
)
"""Columns of a report's data frame that are not figures of a meter. No meter may use such a name as a key."""


@dataclass(frozen=True)
class ResolvedMeter:
    """A meter for one run.

    Attributes:
        name: the text by which the user named the meter.
        meter: a new instance, since a meter holds counters.
        source: where its code comes from: `package==version`, or the sha256 of the file; empty for a shipped meter.
    """

    name: str
    meter: Meter
    source: str = ""


def resolve_meter(name: str) -> ResolvedMeter:
    """Makes the meter that a name stands for.

    Args:
        name: a shipped meter, an entry point of an installed package, or `file.py:Class`.

    Raises:
        UserError: the name is unknown, or the class is not a valid meter; the message says what is wrong with it.

    Examples:
        >>> resolve_meter("flops").meter.columns[0].label
        'inference FLOPs'
    """
    by_name = {meter.name: meter for meter in shipped()}
    if name in by_name:  # a package cannot replace a shipped meter
        return ResolvedMeter(name, by_name[name]())
    if plugins.is_file(name):
        cls, source = plugins.from_file(name)
    else:
        packages = plugins.entry_points(METER_GROUP)
        if name not in packages:
            listed = [*by_name, *packages]
            raise UserError(f"unknown meter {name!r}{near(name, listed)} (bench list meters shows all)")
        cls, source = plugins.from_package(packages[name])
    reason = wrong_with(cls)
    if reason is not None:
        raise UserError(f"{name} {reason}")
    try:
        return ResolvedMeter(name, cls(), source)
    except Exception as error:  # an author's constructor may raise anything
        raise UserError(f"{name} cannot be made: {described(error)}") from error


def run_meters(names: Sequence[str]) -> list[ResolvedMeter]:
    """Makes the meters of a run: those that the user added, and then the shipped ones.

    Meters start in this order, the clock last, and stop in the reverse order. So neither the shipped meters nor the
    clock measure the work of the meters that the user added.

    Args:
        names: meters beside the shipped ones.

    Raises:
        UserError: a name stands for no valid meter, or two meters have the same name or the same key.
    """
    others = [resolve_meter(name) for name in dict.fromkeys(names)]
    others = [each for each in others if each.source]  # shipped meters take part anyway
    taken: dict[str, str] = {}  # a name or key -> the meter that has it
    for each in others:
        for what in (f"the name {each.meter.name}", *(f"the key {column.key}" for column in each.meter.columns)):
            other = taken.setdefault(what, each.name)
            if other != each.name:
                raise UserError(f"meters {other} and {each.name} both use {what}; rename it in one of them")
    return [*others, *(ResolvedMeter(meter.name, meter()) for meter in shipped())]


def meter_sources(names: Sequence[str]) -> dict[str, str]:
    """Returns name -> where the code comes from now, for the meters that the user added.

    Raises:
        UserError: a name stands for no valid meter, or two meters have the same name or the same key.
    """
    return {each.name: each.source for each in run_meters(names) if each.source}


def wrong_with(cls: Any) -> str | None:
    """Says what keeps a class from being a valid meter, in words that follow its name; None if nothing does."""
    if not (inspect.isclass(cls) and issubclass(cls, Meter)):
        return "is no subclass of bench.Meter"
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][\w.-]*", name, re.ASCII):
        return 'has no name; write name = "my-meter" in it (letters, digits, - _ and .)'
    if name in {meter.name for meter in shipped()}:
        return f"calls itself {name!r}, which is a shipped meter; give it another name"
    declared = getattr(cls, "columns", None)
    if not isinstance(declared, list | tuple) or not declared or not all(isinstance(c, Column) for c in declared):
        return "declares no figure; write columns = (bench.Column(...),) in it"
    for column in declared:
        reason = _wrong_key(column, declared)
        if reason is not None:
            return f"declares a column with key {column.key!r}, {reason}"
    return None


def _wrong_key(column: Column, declared: Iterable[Column]) -> str | None:
    if not isinstance(column.key, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", column.key):
        return "which is no key: take lower-case letters, digits and _, such as train_page_faults"
    if column.key in columns() or column.key in RESERVED:
        return "which stands for something else already; give it another key"
    if sum(other.key == column.key for other in declared) > 1:
        return "and another one with the same key"
    if column.group not in GROUPS:
        return f"whose group {column.group!r} is none of {', '.join(GROUPS)}"
    if column.home != "costs":
        return 'whose home is not "costs"; leave that out'
    if column.follows is not None and column.follows not in {*columns(), *(other.key for other in declared)}:
        return f"which follows {column.follows!r}, a key that nothing declares"
    return None
