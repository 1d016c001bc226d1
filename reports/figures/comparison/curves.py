"""Scores on the dev rows while training."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from reports.figures.drawing import Drawing
from reports.figures.labels import Mark, fitting, label_ends
from reports.figures.sources import Setting

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ORDER = 50
MOST_TASKS = 6
"""Tasks that get a figure where there are more."""


def drawings(setting: Setting, width: float) -> Iterator[Drawing]:
    """A figure for each of the first tasks that has curves."""
    panel = setting.panel
    if panel.by != "task":
        return
    for task in [task for task in panel.columns if task in panel.headlines][:MOST_TASKS]:
        points = shared_steps(setting, task)
        if points.empty:
            continue
        last = points[points["step"] == points.groupby("method")["step"].transform("max")]
        means = last.groupby("method")["score"].mean()
        band = "; bands reach from the least to the greatest seed" if panel.seeds > 1 else ""
        caption = (
            f"{task}: score on the dev rows while training, mean over seeds: at its last step {means.idxmax()} is "
            f"highest ({means.max():.3f}){band}."
        )
        yield Drawing(f"curves-{task}", caption, partial(_draw, setting, task), width, 1.35 + 0.36 * width)


def shared_steps(setting: Setting, task: str) -> pd.DataFrame:
    """Scores on a task by method, step and seed, without later steps that not all seeds reached: they would mislead."""
    ok = setting.panel.ok
    points = setting.curves[setting.curves["digest"].isin(ok[ok["task"] == task]["digest"])].dropna(subset=["score"])
    counts = points.groupby(["method", "step"])["score"].transform("count")
    kept: pd.DataFrame = points[counts == counts.groupby(points["method"]).transform("max")]
    return kept


def _draw(setting: Setting, task: str, figure: Figure) -> None:
    training_curves(setting, task, figure.subplots())


def training_curves(setting: Setting, task: str, ax: Axes) -> Axes:
    """Dev score against optimizer steps: the mean over seeds, and the range between the seeds."""
    import seaborn as sns

    points, looks = shared_steps(setting, task), setting.looks
    names = [name for name in setting.panel.methods if name in set(points["method"])]
    steps = points.groupby(["method", "step"])["score"].agg(["mean", "min", "max"]).reset_index()
    sns.lineplot(
        steps, x="step", y="mean", hue="method", style="method", hue_order=names, style_order=names,
        palette=[looks[name].colour for name in names], dashes=[looks[name].dashes for name in names],
        estimator=None, errorbar=None, legend=False, ax=ax,
    )  # fmt: skip
    ends = []
    for name in names:
        of = steps[steps["method"] == name]
        ax.fill_between(of["step"], of["min"], of["max"], color=looks[name].colour, alpha=0.1, linewidth=0)
        ax.plot(
            of["step"], of["mean"], linestyle="", marker=looks[name].marker, color=looks[name].colour,
            markersize=3.5, markevery=max(len(of) // 6, 1), label=name,
        )  # fmt: skip
        ends.append(Mark(name, float(of["step"].iloc[-1]), float(of["mean"].iloc[-1])))
    ax.set_xlabel("optimizer steps")
    ax.set_ylabel(fitting(f"{task}: dev {setting.panel.headlines.get(task, 'score')}", 2.2))
    label_ends(ax, ends, looks=looks)
    return ax
