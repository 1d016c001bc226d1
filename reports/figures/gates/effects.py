"""Each gate's mean value against what its part does."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from reports.figures.axes import is_wide, short
from reports.figures.drawing import Drawing
from reports.figures.labels import key_below
from reports.figures.sources import GateSource
from reports.figures.style import PARTS, Look

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

ORDER = 60
_EFFECTS = {"contribution": "contribution |y - y0| / |y0|", "loss_change": "loss change when removed"}
_MARKERS = "osD^v"


def drawings(source: GateSource, width: float) -> Iterator[Drawing]:
    """A figure for each effect and task."""
    parts = sorted(source.study.effects["part"].unique())
    for effect, label in _EFFECTS.items():
        for task in source.study.tasks:
            of = source.study.effects[source.study.effects["task"] == task]
            points = of.groupby(["seed", "part", "layer"])[["value", effect]].mean().reset_index()
            most = points.groupby("part")[effect].mean()
            caption = (
                f"{task}: each gate's mean value against its part's {label}, one point a gate and seed: the greatest "
                f"mean effect is of {most.idxmax()} ({most.max():.3g}); points of one run are not independent."
            )
            name = f"gate_against_{effect}_{task}"
            yield Drawing(name, caption, partial(_draw, points, parts, effect, task), width, 1.2 + 0.36 * width)


def _draw(points: pd.DataFrame, parts: list[str], effect: str, task: str, figure: Figure) -> None:
    import seaborn as sns

    ax = figure.subplots()
    looks = {
        part: Look(PARTS[number % len(PARTS)], PARTS[number % len(PARTS)], _MARKERS[number % len(_MARKERS)])
        for number, part in enumerate(parts)
    }
    sns.scatterplot(
        points, x="value", y=effect, hue="part", style="part", hue_order=parts, style_order=parts, s=14, alpha=0.8,
        palette=[look.colour for look in looks.values()], markers=[look.marker for look in looks.values()],
        linewidth=0.3, legend=False, ax=ax,
    )  # fmt: skip
    ax.set_xlabel("mean gate")
    ax.set_ylabel(_EFFECTS[effect])
    if effect == "contribution" and (points[effect] > 0).all() and is_wide(points[effect]):
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(lambda value, _: short(value))  # no formulas in these figures
        ax.yaxis.set_minor_formatter(lambda value, _: "")
    ax.set_title(task)
    key_below(figure, parts, looks)
