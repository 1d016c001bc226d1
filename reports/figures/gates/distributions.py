"""How gate values are distributed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from reports.figures.drawing import Drawing
from reports.figures.labels import handles_below
from reports.figures.sources import GateSource
from reports.figures.style import PARTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDER = 20


def drawings(source: GateSource, width: float) -> Iterator[Drawing]:
    """One figure of all tasks and parts."""
    medians = source.study.values.groupby(["task", "part"])["value"].median()
    ends: Any = medians.idxmin(), medians.idxmax()
    (low_task, low_part), (high_task, high_part) = ends
    caption = (
        "Distribution of gate values over examples, layers and seeds, by task and part, lines at the quartiles: the "
        f"medians go from {medians.min():.2f} ({low_part}, {low_task}) to {medians.max():.2f} ({high_part}, "
        f"{high_task}); a gate's value alone does not say what its part does."
    )
    yield Drawing("distributions", caption, partial(_draw, source), width, 2.2)


def _draw(source: GateSource, figure: Figure) -> None:
    import seaborn as sns

    ax = figure.subplots()
    parts = sorted(source.study.values["part"].unique())
    palette = [PARTS[number % len(PARTS)] for number in range(len(parts))]
    sns.violinplot(
        source.study.values, x="task", y="value", hue="part", order=source.study.tasks, hue_order=parts,
        palette=palette, cut=0, inner="quart", density_norm="width", linewidth=0.6, legend=False, ax=ax,
    )  # fmt: skip
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel("")
    ax.set_ylabel("gate")
    from matplotlib.patches import Patch

    handles_below(figure, [Patch(facecolor=colour) for colour in palette], parts)
