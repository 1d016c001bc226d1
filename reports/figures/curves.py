"""Lines: score against the number of training rows, and scores while training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.figures.style import looks
from reports.frame.panels import Panel

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def score_by_k(panel: Panel, ax: Axes) -> Axes:
    """Score against K of a panel whose columns are sizes, with 95% intervals.

    Raises:
        ValueError: the panel's columns are something else.
    """
    if panel.by != "k":
        raise ValueError(f"score_by_k needs a panel by k, not by {panel.by}")
    style = looks(panel.methods)
    for number, method in enumerate(panel.methods):
        shift = (number - (len(panel.methods) - 1) / 2) * 0.03  # so that intervals do not hide each other
        found = [(at + shift, panel.scores.get((method, k))) for at, k in enumerate(panel.columns)]
        known = [(x, estimate) for x, estimate in found if estimate is not None]
        if not known:
            continue
        look, means = style[method], [estimate.mean for _, estimate in known]
        ends = [estimate.interval for _, estimate in known]
        errors = None
        if all(ends):
            errors = [
                [mean - interval.low for mean, interval in zip(means, ends, strict=True) if interval],
                [interval.high - mean for mean, interval in zip(means, ends, strict=True) if interval],
            ]
        ax.errorbar(
            [x for x, _ in known],
            means,
            yerr=errors,
            color=look.colour,
            marker=look.marker,
            dashes=look.dashes,
            elinewidth=0.6,
            label=method,
        )
    ax.set_xticks(range(len(panel.columns)), panel.columns)
    ax.set_xlabel("K (training rows)")
    ax.set_ylabel(f"{panel.fixed['task']}: {next(iter(panel.headlines.values()), 'score')}")
    return ax


def training_curves(curves: pd.DataFrame, panel: Panel, task: str, ax: Axes) -> Axes:
    """Dev score against optimizer steps: the mean over seeds, and the range between the seeds.

    Args:
        curves: of `reports.frame.frame.curves`.
        panel: whose methods are drawn.
        task: one of its columns.
        ax: drawn on and returned.
    """
    style = looks(panel.methods)
    own = curves[curves["digest"].isin(panel.ok[panel.ok["task"] == task]["digest"])].dropna(subset=["score"])
    for method in panel.methods:
        runs = own[own["method"] == method]
        if runs.empty:
            continue
        look = style[method]
        steps = runs.groupby("step")["score"].agg(["mean", "min", "max", "count"])
        steps = steps[steps["count"] == steps["count"].max()]  # later steps, which not all seeds reached, mislead
        spacing = max(len(steps) // 6, 1)
        ax.plot(
            steps.index,
            steps["mean"],
            color=look.colour,
            marker=look.marker,
            markevery=spacing,
            markersize=3.5,
            dashes=look.dashes,
            label=method,
        )
        ax.fill_between(steps.index, steps["min"], steps["max"], color=look.colour, alpha=0.1, linewidth=0)
    ax.set_xlabel("optimizer steps")
    ax.set_ylabel(f"{task}: dev {panel.headlines.get(task, 'score')}")
    return ax
