"""Score against the number of training rows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from reports.figures.axes import whisker
from reports.figures.drawing import Drawing
from reports.figures.labels import Mark, fitting, label_ends
from reports.figures.sources import Setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def drawings(setting: Setting, width: float) -> Iterator[Drawing]:
    """One figure of a task, where it has a score at all."""
    panel = setting.panel
    task = panel.fixed["task"]
    best = []
    for k in panel.columns:
        scores = {method: panel.scores[method, k].mean for method in panel.methods if (method, k) in panel.scores}
        if scores:
            first = max(scores, key=lambda method: scores[method])
            best.append(f"{first} at K={k} ({scores[first]:.3f})")
    if not best:
        return
    ends = {best[0]: None, best[-1]: None}
    bars = "; bars are 95% intervals" if panel.seeds > 1 else ""
    caption = f"Test score of {task} against the number of training rows, K; the best: {' and '.join(ends)}{bars}."
    yield Drawing(f"score-by-k-{task}", caption, partial(_draw, setting), width, 1.35 + 0.36 * width)


def _draw(setting: Setting, figure: Figure) -> None:
    score_by_k(setting, figure.subplots())


def score_by_k(setting: Setting, ax: Axes) -> Axes:
    """Score against K of a panel whose columns are sizes, with 95% intervals.

    Raises:
        ValueError: the panel's columns are something else.
    """
    import pandas as pd
    import seaborn as sns

    panel, looks = setting.panel, setting.looks
    if panel.by != "k":
        raise ValueError(f"score_by_k needs a panel by k, not by {panel.by}")
    names = [name for name in panel.methods if any((name, k) in panel.scores for k in panel.columns)]
    points = []
    for number, name in enumerate(names):
        shift = (number - (len(names) - 1) / 2) * 0.3 / max(len(names), 10)  # so that intervals do not hide each other
        for at, k in enumerate(panel.columns):
            estimate = panel.scores.get((name, k))
            if estimate is not None:
                points.append((name, at + shift, estimate.mean, *whisker(estimate)))
    frame = pd.DataFrame(points, columns=["method", "at", "score", "below", "above"])
    sns.lineplot(
        frame, x="at", y="score", hue="method", style="method", hue_order=names, style_order=names,
        palette=[looks[name].colour for name in names], dashes=[looks[name].dashes for name in names],
        markers=[looks[name].marker for name in names], markeredgewidth=0.4, estimator=None, errorbar=None,
        legend=False, ax=ax,
    )  # fmt: skip
    colours: Any = [looks[name].colour for name in frame["method"]]  # one for each point
    ax.errorbar(
        frame["at"], frame["score"], yerr=frame[["below", "above"]].to_numpy().T, fmt="none", elinewidth=0.6,
        ecolor=colours,
    )  # fmt: skip
    ax.set_xticks(range(len(panel.columns)), panel.columns)
    ax.set_xlabel("K (training rows)")
    ax.set_ylabel(fitting(f"{panel.fixed['task']}: {next(iter(panel.headlines.values()), 'score')}", 2.2))
    last = frame.groupby("method").last()
    label_ends(ax, [Mark(n, float(last.loc[n, "at"]), float(last.loc[n, "score"])) for n in names], looks=looks)
    return ax
