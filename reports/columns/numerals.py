"""How figures are written: one scale for a whole column, three digits that mean something, no unit twice."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from reports.columns.document import Column

ABSENT = "-"
"""Stands where nothing was measured."""

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_SHORT = {"bytes": "B", "FLOPs": "FLOPs"}
_COUNTS = ("parameters", "effective")


@dataclass(frozen=True)
class Scale:
    """What a column's figures are divided by, and the unit they then have."""

    factor: float = 1.0
    unit: str = ""


def scale_of(column: Column, values: Iterable[float]) -> Scale:
    """The prefix with which the column's greatest figure has one to three digits before the point."""
    if column.key == "stored_share":
        return Scale(0.01, "%")
    if column.unit not in _SHORT:
        return Scale(1.0, column.unit)
    greatest = max((abs(value) for value in values), default=0.0)
    for factor, prefix in _PREFIXES:
        if greatest >= factor:
            return Scale(factor, prefix + _SHORT[column.unit])
    return Scale(1.0, _SHORT[column.unit])


def heading(column: Column, scale: Scale) -> str:
    """A column's label with its unit, said once."""
    label = column.label
    if not scale.unit or label.endswith(f" {scale.unit}") or scale.unit == "1/s":
        return label
    if column.unit == "FLOPs":
        return f"{label} ({scale.unit.removesuffix('FLOPs') or '1'})"
    return f"{label.removesuffix(' bytes')} ({scale.unit})"


def written(column: Column, value: float, scale: Scale = Scale()) -> str:
    """One figure in its column's way: counts whole, scores and ratios to their usual places."""
    if column.group == "score" or column.key == "verified_test_change":
        return f"{value:.3f}" if column.group == "score" else signed(value)
    if column.group in _COUNTS and not column.unit and column.key not in ("stored_share", "participation_ratio"):
        return f"{value:,.0f}"
    if column.group == "time" and not column.unit:
        return f"{value:.3f}"
    return significant(value / scale.factor)


def fixed(value: float | None, places: int = 3) -> str:
    """A number with so many decimal places, or the mark of what was not measured.

    >>> fixed(22565376, 0), fixed(0.98765), fixed(None)
    ('22,565,376', '0.988', '-')
    """
    return ABSENT if value is None else f"{value:,.{places}f}"


def with_interval(value: float, low: float, high: float, places: int = 3) -> str:
    """A number with its interval behind it.

    >>> with_interval(0.8123, 0.8, 0.825)
    '0.812 [0.800, 0.825]'
    """
    return f"{fixed(value, places)} [{fixed(low, places)}, {fixed(high, places)}]"


def general(value: float) -> str:
    """A number of which no column says what it is: three places, fewer if it is large, powers of ten if it is small.

    >>> [general(value) for value in (3, 0.25, 1234.5, 0.00021, 0.0)]
    ['3', '0.250', '1,234', '2.1e-04', '0.000']
    """
    if isinstance(value, int) or not math.isfinite(value):
        return str(value)
    if abs(value) >= 1000:
        return fixed(value, 0)
    return f"{value:.1e}" if 0 < abs(value) < 0.01 else fixed(value)


def significant(value: float, digits: int = 3) -> str:
    """So many significant digits, never in powers of ten unless below a millionth."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    if places > 8:
        return f"{value:.{digits - 1}e}"
    return f"{round(value, places):,.{max(places, 0)}f}"


def signed(value: float) -> str:
    """A difference of scores: three places, its sign, and no minus before what rounds to zero."""
    return f"{round(value, 3) + 0.0:+.3f}"  # -0.0 + 0.0 is 0.0


def rounded(count: float) -> str:
    """A count for narrow places: 2,310, 30.3k, 22.6M."""
    if count < 1e4:
        return f"{count:,.0f}"
    return f"{count / 1e6:.2f}M" if count >= 1e6 else f"{count / 1e3:.1f}k"


def p_value(value: float) -> str:
    """Three places, and never zero."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"
