"""Score against a cost: who buys what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.columns.numerals import heading, scale_of, significant
from reports.figures.style import looks
from reports.frame.estimates import Estimate
from reports.frame.fronts import front_members, front_points
from reports.frame.panels import OVERALL, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPREAD = 20
"""From this ratio of greatest to least cost on, the axis is logarithmic."""


def pareto(panel: Panel, key: str, ax: Axes, *, place: str = OVERALL) -> Axes:
    """Score against one cost, both with their 95% intervals, and the front through the means.

    Args:
        panel: whose methods are drawn.
        key: of `reports.columns.document`.
        ax: drawn on and returned.
        place: a task, or `OVERALL`.
    """
    column, points = panel.definitions[key], front_points(panel, key, place)
    scale = scale_of(column, [cost.mean for _, cost in points.values()])
    members = front_members(panel, key, place)
    steps = sorted((points[method][1].mean / scale.factor, points[method][0].mean) for method in members)
    ax.step([x for x, _ in steps], [y for _, y in steps], where="post", color="#999999", lw=0.9, zorder=1)
    style = looks(panel.methods)
    for method, (score, cost) in points.items():
        look = style[method]
        x = cost.mean / scale.factor
        ax.errorbar(
            x,
            score.mean,
            xerr=_whiskers(cost, scale.factor),
            yerr=_whiskers(score),
            fmt=look.marker,
            color=look.colour,
            markerfacecolor=look.colour if method in members else "white",
            elinewidth=0.7,
            label=method,
            zorder=3,
        )
    _cost_axis(ax, [cost.mean / scale.factor for _, cost in points.values()])
    ax.set_xlabel(heading(column, scale))
    ax.set_ylabel(score_words(panel, place))
    return ax


def _whiskers(estimate: Estimate, factor: float = 1.0) -> list[list[float]] | None:
    if estimate.interval is None:
        return None
    low, high = estimate.interval
    return [[max(estimate.mean - low, 0) / factor], [max(high - estimate.mean, 0) / factor]]


def _cost_axis(ax: Axes, costs: list[float]) -> None:
    """Logarithmic where costs differ by much; a zero keeps its place on a linear stretch."""
    positive = [cost for cost in costs if cost > 0]
    if not positive or max(positive) < SPREAD * min(positive):
        return
    if min(costs) > 0:
        ax.set_xscale("log")
    else:
        ax.set_xscale("symlog", linthresh=min(positive), linscale=0.5)
        ax.set_xlim(left=-min(positive) / 2)
    plain_log_ticks(ax)


def plain_log_ticks(ax: Axes) -> None:
    """Powers of ten as plain numbers, the ticks between them bare."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: significant(value, 1)))
    ax.xaxis.set_minor_formatter(NullFormatter())


def score_words(panel: Panel, place: str) -> str:
    """An axis label for scores."""
    if place == OVERALL:
        return f"mean score of {len(panel.columns)} tasks"
    return f"{place}: {panel.headlines.get(place, 'score')}"
