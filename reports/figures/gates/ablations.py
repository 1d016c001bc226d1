"""Scores with other gates than the learned ones."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from reports.figures.axes import row_label, rows, rows_height, short_ticks
from reports.figures.drawing import Drawing
from reports.figures.sources import GateSource
from reports.figures.style import PARTS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

ORDER = 40
_TABLES = {
    "interventions": "other gate values in the trained model, minus the score with the learned ones",
    "retrained": "the method trained anew with other settings, minus the score of the studied one",
}


def drawings(source: GateSource, width: float) -> Iterator[Drawing]:
    """A figure for each kind of ablation and task."""
    for name, what in _TABLES.items():
        if name not in source.tables:
            continue
        table = source.tables[name].rows
        for place in dict.fromkeys(table["task"]):
            of = table[(table["task"] == place) & table["difference"].notna()].sort_values("difference")
            if of.empty:
                continue
            bars = "bars are 95% intervals" if of["low"].notna().any() else "one seed, so no intervals"
            caption = (
                f"{place}: score with {what}: from {of['difference'].iloc[0]:+.3f} ({of['gates'].iloc[0]}) to "
                f"{of['difference'].iloc[-1]:+.3f} ({of['gates'].iloc[-1]}), left of 0 is worse; {bars}."
            )
            draw = partial(_draw, of, str(place))
            height = 0.5 + rows_height([str(gates) for gates in of["gates"]])
            yield Drawing(f"{name}_{place}", caption, draw, width, height)


def _draw(of: pd.DataFrame, place: str, figure: Figure) -> None:
    import seaborn as sns

    ax = figure.subplots()
    names = [str(name) for name in of["gates"]]
    difference = of["difference"].to_numpy(dtype=float)
    low, high = of["low"].to_numpy(dtype=float), of["high"].to_numpy(dtype=float)
    ax.axvline(0, color="#8c8c8c", linewidth=0.8, zorder=1)
    ax.errorbar(
        difference, range(len(of)), xerr=[difference - low, high - difference], fmt="none", ecolor=PARTS[0],
        elinewidth=0.8,
    )  # fmt: skip
    sns.scatterplot(x=difference, y=list(range(len(of))), color=PARTS[0], s=26, linewidth=0.4, zorder=3, ax=ax)
    rows(ax, names)
    short_ticks(ax)
    row_label(ax, names, f"difference of the score, {place}")
