"""Average ranks of the methods."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from reports.figures.axes import row_label, rows, rows_height
from reports.figures.drawing import Drawing
from reports.figures.sources import Setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ORDER = 40


def drawings(setting: Setting, width: float) -> Iterator[Drawing]:
    """One figure, where there are several seeds and methods."""
    ranks = setting.panel.ranks
    if not ranks:
        return
    best = min(ranks, key=lambda method: ranks[method])
    caption = (
        f"Average rank over tasks and seeds, 1 is best: {best} is ahead most often ({ranks[best]:.2f} among "
        f"{len(ranks)} methods); ranks do not say by how much, nor whether by more than noise."
    )
    yield Drawing("ranks", caption, partial(_draw, setting), width, 0.5 + rows_height(list(ranks)))


def _draw(setting: Setting, figure: Figure) -> None:
    rank_plot(setting, figure.subplots())


def rank_plot(setting: Setting, ax: Axes) -> Axes:
    """Average rank of each method over seeds and tasks, best on top."""
    import seaborn as sns

    panel = setting.panel
    ranked = dict(sorted(panel.ranks.items(), key=lambda pair: pair[1]))
    names, ranks, places = list(ranked), list(ranked.values()), list(range(len(ranked)))
    ax.hlines(places, 1, ranks, color="#bbbbbb", lw=0.8, zorder=1)
    sns.scatterplot(
        x=ranks, y=places, hue=names, style=names, s=28, linewidth=0.4, legend=False, zorder=3, ax=ax,
        palette=[setting.looks[name].colour for name in names],
        markers={name: setting.looks[name].marker for name in names},
    )  # fmt: skip
    for row, rank in enumerate(ranks):
        ax.annotate(
            f"{rank:.2f}", (rank, row), xytext=(5, 0), textcoords="offset points", va="center_baseline", gid="label"
        )
    rows(ax, names)
    ax.set_xlim(0.8, len(names) + 0.9)
    ax.set_xticks(range(1, len(names) + 1, -(-len(names) // 8)))
    tasks = "1 task" if len(panel.columns) == 1 else f"{len(panel.columns)} tasks"
    row_label(ax, names, f"average rank over {tasks} and {panel.seeds} seeds")
    return ax
