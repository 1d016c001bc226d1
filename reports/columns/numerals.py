"""Writes figures: all figures of a column at one scale, with three significant digits, and the unit in the heading."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from reports.columns.document import Column

ABSENT = "-"
"""The text of a cell whose figure was not measured."""

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_SHORT = {"bytes": "B", "FLOPs": "FLOPs"}
_COUNTS = ("parameters", "effective")


@dataclass(frozen=True)
class Scale:
    """The number that the figures of a column are divided by, and the unit that they then have."""

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
    """The label of a column with its unit, unless the label names the unit already."""
    label = column.label
    if not scale.unit or label.endswith(f" {scale.unit}") or scale.unit == "1/s":
        return label
    if column.unit == "FLOPs":
        return f"{label} ({scale.unit.removesuffix('FLOPs') or '1'})"
    return f"{label.removesuffix(' bytes')} ({scale.unit})"


def written(column: Column, value: float, scale: Scale = Scale()) -> str:
    """Writes one figure of a column: counts as whole numbers, scores and ratios with three decimal places."""
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
    """Writes a number with some significant digits, and in powers of ten only if it is below about a millionth.

    >>> [significant(value) for value in (0.012345, 12.345, 12345.6, 1.2e-9)]
    ['0.0123', '12.3', '12,300', '1.20e-09']
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    if places > 8:
        return f"{value:.{digits - 1}e}"
    return f"{round(value, places):,.{max(places, 0)}f}"


def signed(value: float) -> str:
    """Writes a difference of scores with its sign and three decimal places; zero has no minus.

    >>> signed(0.01234), signed(-0.0001)
    ('+0.012', '+0.000')
    """
    return f"{round(value, 3) + 0.0:+.3f}"  # -0.0 + 0.0 is 0.0


def rounded(count: float) -> str:
    """Writes a count in few characters.

    >>> [rounded(count) for count in (2310, 30_270, 22_565_376)]
    ['2,310', '30.3k', '22.57M']
    """
    if count < 1e4:
        return f"{count:,.0f}"
    return f"{count / 1e6:.2f}M" if count >= 1e6 else f"{count / 1e3:.1f}k"


def p_value(value: float) -> str:
    """Writes a p value with three decimal places, and never as zero.

    >>> p_value(0.0421), p_value(0.00001)
    ('0.042', '<0.001')
    """
    return "<0.001" if value < 0.001 else f"{value:.3f}"
