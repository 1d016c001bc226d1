"""Mean gate by layer and part."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from reports.figures.drawing import Drawing
from reports.figures.sources import GateSource

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

ORDER = 10


def drawings(source: GateSource, width: float) -> Iterator[Drawing]:
    """A figure for each task."""
    for task in source.study.tasks:
        values = source.study.values[source.study.values["task"] == task]
        table = values.pivot_table(index="layer", columns="part", values="value", aggfunc="mean")
        means = table.stack()
        (low_layer, low_part), (high_layer, high_part) = means.idxmin(), means.idxmax()
        caption = (
            f"{task}: mean gate on the test rows by layer and part, all seeds: least {low_part} in layer {low_layer} "
            f"({means.min():.2f}), most {high_part} in layer {high_layer} ({means.max():.2f}); a gate's value alone "
            "does not say what its part does."
        )
        yield Drawing(f"heat_map_{task}", caption, partial(_draw, table, task), width, 0.65 + 0.22 * len(table))


def _draw(table: pd.DataFrame, task: str, figure: Figure) -> None:
    import seaborn as sns

    ax = figure.subplots()
    sns.heatmap(table, vmin=0, vmax=1, cmap="cividis", annot=True, fmt=".2f", cbar=False, linewidths=0.5, ax=ax)
    ax.tick_params(length=0)
    ax.set_yticks(ax.get_yticks(), [str(layer) for layer in table.index], rotation=0)
    ax.set_xlabel("")
    ax.set_ylabel("layer")
    ax.set_title(task)
