"""Where memory goes, all costs beside each other, and average ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.figures.pareto import plain_log_ticks
from reports.figures.style import looks
from reports.frame.panels import Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEMORY_PARTS = (
    "train_weights_bytes",
    "train_gradients_bytes",
    "train_optimizer_bytes",
    "train_activations_bytes",
)
_FILLS = (("#4d4d4d", ""), ("#0072b2", "////"), ("#e69f00", "xxx"), ("#d9d9d9", ""))

KEPT = (
    "trained_parameters",
    "stored_bytes",
    "active_parameters",
    "contributing_parameters",
    "verified_parameters",
)
SPENT = (
    "train_flops_per_example",
    "infer_flops_per_example",
    "train_live_bytes",
    "infer_live_bytes",
    "train_step_ratio",
    "infer_ratio",
    "train_energy_measured_joules",
)
"""The two parallel views: what is trained and kept differs by powers of ten, what is spent does not."""


def costs_at(panel: Panel, method: str, key: str) -> float | None:
    """A method's mean cost over the whole panel."""
    estimate = panel.costs.get((method, panel.places[0]), {}).get(key)
    return None if estimate is None else estimate.mean


def memory_bars(panel: Panel, ax: Axes) -> Axes:
    """Peak live bytes of a training step, stacked by what they are."""
    whole = [m for m in panel.methods if all(costs_at(panel, m, key) is not None for key in MEMORY_PARTS)]
    start = [0.0] * len(whole)
    for key, (colour, hatch) in zip(MEMORY_PARTS, _FILLS, strict=True):
        widths = [(costs_at(panel, method, key) or 0.0) / 1e6 for method in whole]
        ax.barh(
            whole,
            widths,
            left=start,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            lw=0.3,
            label=panel.definitions[key].label,
        )
        start = [left + width for left, width in zip(start, widths, strict=True)]
    for row, total in enumerate(start):
        ax.annotate(f"{total:,.0f}", (total, row), xytext=(2, 0), textcoords="offset points", va="center", fontsize=6)
    ax.set_xlabel("peak of a training step, live tensors (MB)")
    ax.margins(x=0.1)
    ax.grid(visible=False, axis="y")
    return ax


def parallel_costs(panel: Panel, ax: Axes, *, keys: Sequence[str], reference: str | None = None) -> Axes:
    """Several costs of every method that has most of them, relative to one method's; logarithmic if far apart.

    Args:
        panel: whose methods are drawn.
        ax: drawn on and returned.
        keys: of `reports.columns.document`, never estimated ones.
        reference: its costs are 1; None: the panel's baseline.
    """
    reference = reference or panel.baseline
    keys = comparable_keys(panel, keys, reference)
    style, ratios = looks(panel.methods), []
    for number, method in enumerate(panel.methods):
        shift = (number - (len(panel.methods) - 1) / 2) * 0.06  # so that equal costs do not hide each other
        points = [(at + shift, _ratio(panel, method, reference, key)) for at, key in enumerate(keys)]
        known = [(at, ratio) for at, ratio in points if ratio]
        if 2 * len(known) <= len(keys):  # one that trains nothing would squeeze all others into a corner
            continue
        look = style[method]
        ratios += [ratio for _, ratio in known]
        ax.plot(
            [ratio for _, ratio in known],
            [at for at, _ in known],
            color=look.colour,
            marker=look.marker,
            dashes=look.dashes,
            lw=0.8,
            label=method,
        )
    if ratios and max(ratios) > 20 * min(ratios):
        ax.set_xscale("log")
        plain_log_ticks(ax)
    else:
        ax.set_xlim(left=0)
    ax.axvline(1, color="#999999", lw=0.8, zorder=1)
    ax.set_yticks(range(len(keys)), [panel.definitions[key].label.partition(" / ")[0] for key in keys])
    ax.invert_yaxis()
    ax.set_xlabel(f"cost relative to {reference}")
    return ax


def comparable_keys(panel: Panel, keys: Sequence[str], reference: str) -> list[str]:
    """Those of the costs that the reference has, and not as an estimate or a zero."""
    return [key for key in keys if panel.definitions[key].may_rank and costs_at(panel, reference, key)]


def _ratio(panel: Panel, method: str, reference: str, key: str) -> float | None:
    cost, base = costs_at(panel, method, key), costs_at(panel, reference, key)
    return None if cost is None or not base else cost / base


def rank_plot(panel: Panel, ax: Axes) -> Axes:
    """Average rank of each method over seeds and tasks, best on top."""
    ranked = sorted(panel.ranks.items(), key=lambda pair: pair[1], reverse=True)
    style = looks(panel.methods)
    for row, (method, rank) in enumerate(ranked):
        look = style[method]
        ax.plot([1, rank], [row, row], color="#bbbbbb", lw=0.8, zorder=1)
        ax.plot(rank, row, look.marker, color=look.colour, zorder=3)
        ax.annotate(f"{rank:.2f}", (rank, row), xytext=(5, 0), textcoords="offset points", va="center", fontsize=6)
    ax.set_yticks(range(len(ranked)), [method for method, _ in ranked])
    ax.set_xlim(0.8, len(ranked) + 0.7)
    ax.set_xticks(range(1, len(ranked) + 1))
    places = "1 task" if len(panel.columns) == 1 else f"{len(panel.columns)} tasks"
    ax.set_xlabel(f"average rank over {places} and {panel.seeds} seeds (1 is best)")
    ax.grid(visible=False, axis="y")
    return ax
