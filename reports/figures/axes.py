"""What several figures need of axes: scales of costs, short ticks, whiskers, rows of methods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from reports.columns.numerals import significant
from reports.figures.labels import fitting, wrapped
from reports.figures.style import COLUMN_INCHES, POINTS
from reports.frame.estimates import Estimate
from reports.frame.panels import OVERALL, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPREAD = 20
"""From this ratio of greatest to least cost on, the axis is logarithmic."""
ROW_LETTERS = 20
"""Longer names of rows are broken into lines."""
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def cost_scale(ax: Axes, costs: Iterable[float], *, ticks: int = 5) -> None:
    """Makes the horizontal axis logarithmic where costs differ by much; a zero keeps its place on a linear stretch."""
    known = list(costs)
    positive = [cost for cost in known if cost > 0]
    if is_wide(known):
        if min(known) > 0:
            ax.set_xscale("log")
        else:
            ax.set_xscale("symlog", linthresh=min(positive), linscale=0.5)
            ax.set_xlim(left=-min(positive) / 2)
    short_ticks(ax, ticks=ticks)


def is_wide(costs: Iterable[float]) -> bool:
    """Whether costs differ by so much that an axis should be logarithmic."""
    positive = [cost for cost in costs if cost > 0]
    return bool(positive) and max(positive) >= SPREAD * min(positive)


def short_ticks(ax: Axes, *, ticks: int = 5) -> None:
    """At most so many ticks on the horizontal axis, with short numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    if ax.get_xscale() == "linear":
        ax.xaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
    else:
        if ax.get_xscale() == "log":
            ax.xaxis.set_major_locator(LogLocator(numticks=ticks))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def short(value: float) -> str:
    """A number in as few characters as an axis needs.

    >>> short(0.25), short(20_000), short(1e6)
    ('0.25', '20k', '1M')
    """
    for factor, prefix in _PREFIXES:
        if abs(value) >= factor:
            return f"{value / factor:g}{prefix}"
    return f"{value:g}" if abs(value) >= 1e-4 or value == 0 else significant(value, 1)


def whisker(estimate: Estimate, factor: float = 1.0) -> tuple[float, float]:
    """How far an estimate's interval reaches below and above its mean; not a number where there is no interval."""
    if estimate.interval is None:
        return float("nan"), float("nan")
    low, high = estimate.interval
    return max(estimate.mean - low, 0) / factor, max(high - estimate.mean, 0) / factor


def score_words(panel: Panel, place: str) -> str:
    """An axis label for scores."""
    if place == OVERALL:
        return f"mean score of {len(panel.columns)} tasks"
    return f"{place}: {panel.headlines.get(place, 'score')}"


def rows(ax: Axes, names: Sequence[str]) -> None:
    """A row for each name, the first on top, at 0, 1, 2 and so on."""
    ax.set_yticks(range(len(names)), [wrapped(name, ROW_LETTERS) for name in names])
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_ylabel("")
    ax.grid(visible=False, axis="y")


def row_label(ax: Axes, names: Sequence[str], text: str) -> None:
    """The label under an axis that names of rows stand beside, in lines that fit."""
    figure = ax.get_figure(root=True)
    width = COLUMN_INCHES if figure is None else figure.get_figwidth()
    ax.set_xlabel(fitting(text, width - rows_width(names)))


def rows_height(names: Sequence[str]) -> float:
    """Inches that rows of names take."""
    lines = max((wrapped(name, ROW_LETTERS).count("\n") + 1 for name in names), default=1)
    return len(names) * max(0.19, lines * POINTS * 1.2 / 72)


def rows_width(names: Sequence[str]) -> float:
    """Inches that names of rows take, about: DejaVu Sans sets a letter in 0.6 of its size."""
    longest = max((len(line) for name in names for line in wrapped(name, ROW_LETTERS).split("\n")), default=1)
    return longest * POINTS * 0.6 / 72 + 0.12


def listed(names: Sequence[str], most: int = 4) -> str:
    """Names in a sentence.

    >>> listed(["a", "b", "c"]), listed(list("abcdef"))
    ('a, b and c', 'a, b, c, d and 2 more')
    """
    names = list(names)
    if len(names) > most:
        names = [*names[:most], f"{len(names) - most} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
