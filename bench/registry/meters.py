"""From a name to a meter: the shipped ones, those of a file (`my.py:Mine`), and those of installed packages."""

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
"""Columns of a report's data frame that are no figures of a meter."""


@dataclass(frozen=True)
class ResolvedMeter:
    """A meter for one run.

    Attributes:
        name: what it was asked for by.
        meter: a new instance.
        source: where its code comes from, `package==version` or the file's sha256; empty: it is shipped.
    """

    name: str
    meter: Meter
    source: str = ""


def resolve_meter(name: str) -> ResolvedMeter:
    """Makes the meter that a name stands for.

    Args:
        name: of a shipped meter or of an entry point, or `file.py:Class`.

    Raises:
        UserError: an unknown name, or what it stands for is no meter; the line says what is wrong with it.

    Examples:
        >>> resolve_meter("flops").meter.columns[0].label
        'inference FLOPs'
    """
    by_name = {meter.name: meter for meter in shipped()}
    if name in by_name:
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
    """New meters for a run: those of others first, then the shipped ones, each nearer to the clock than the last.

    Args:
        names: meters beside the shipped ones.

    Raises:
        UserError: a meter that is none, or two that do not go together.
    """
    others = [resolve_meter(name) for name in dict.fromkeys(names)]
    others = [each for each in others if each.source]  # a shipped one measures anyway
    taken: dict[str, str] = {}
    for each in others:
        for what in (f"the name {each.meter.name}", *(f"the key {column.key}" for column in each.meter.columns)):
            other = taken.setdefault(what, each.name)
            if other != each.name:
                raise UserError(f"meters {other} and {each.name} both use {what}; rename it in one of them")
    return [*others, *(ResolvedMeter(meter.name, meter()) for meter in shipped())]


def meter_sources(names: Sequence[str]) -> dict[str, str]:
    """Name -> where the code comes from now, of meters beside the shipped ones.

    Raises:
        UserError: a meter that is none, or two that do not go together.
    """
    return {each.name: each.source for each in run_meters(names) if each.source}


def wrong_with(cls: Any) -> str | None:
    """What keeps a class from being a meter beside the shipped ones, in words that follow its name; None: nothing."""
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
