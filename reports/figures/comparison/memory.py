"""Where the memory of a training step goes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from reports.columns.numerals import significant
from reports.figures.axes import row_label, rows, rows_height, short_ticks
from reports.figures.drawing import Drawing
from reports.figures.labels import handles_below
from reports.figures.sources import Setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ORDER = 20
MEMORY_PARTS = (
    "train_weights_bytes",
    "train_gradients_bytes",
    "train_optimizer_bytes",
    "train_activations_bytes",
)
_FILLS = (("#4d4d4d", ""), ("#0072b2", "////"), ("#e69f00", "xxx"), ("#d9d9d9", ""))


def drawings(setting: Setting, width: float) -> Iterator[Drawing]:
    """One figure, where memory was measured by parts."""
    totals = memory_totals(setting)
    if not totals:
        return
    least, most = min(totals, key=lambda name: totals[name]), max(totals, key=lambda name: totals[name])
    shown = f"{least} needs least ({significant(totals[least])} MB)"
    if len(totals) > 1:
        shown += f" and {most} most ({significant(totals[most])} MB)"
    caption = (
        f"Peak of live tensor bytes in a training step, by what they are, without the kernels' workspace: {shown}; "
        "the number after a bar is its whole length."
    )
    yield Drawing("memory", caption, partial(_draw, setting), width, 0.5 + rows_height(list(totals)))


def memory_totals(setting: Setting) -> dict[str, float]:
    """Megabytes of each method whose parts are all known, the least first."""
    totals: dict[str, float] = {}
    for method in setting.panel.methods:
        parts = [setting.cost(method, key) for key in MEMORY_PARTS]
        known = [part.mean for part in parts if part is not None]
        if len(known) == len(parts):
            totals[method] = sum(known) / 1e6
    return dict(sorted(totals.items(), key=lambda pair: pair[1]))


def _draw(setting: Setting, figure: Figure) -> None:
    memory_bars(setting, figure.subplots())


def memory_bars(setting: Setting, ax: Axes) -> Axes:
    """Peak live bytes of a training step, stacked by what they are, the cheapest method on top."""
    import pandas as pd
    import seaborn as sns
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    totals = memory_totals(setting)
    labels = [setting.panel.definitions[key].label for key in MEMORY_PARTS]
    long = pd.DataFrame(
        [
            (
                row,
                setting.panel.definitions[key].label,
                (cost.mean if (cost := setting.cost(method, key)) else 0.0) / 1e6,
            )
            for row, method in enumerate(totals)
            for key in MEMORY_PARTS
        ],
        columns=["row", "part", "megabytes"],
    )
    sns.histplot(
        long,
        y="row",
        weights="megabytes",
        hue="part",
        hue_order=labels[::-1],  # seaborn stacks the last one first
        palette=[colour for colour, _ in _FILLS][::-1],
        multiple="stack",
        discrete=True,
        shrink=0.75,
        alpha=1,
        edgecolor="white",
        linewidth=0.3,
        legend=False,
        ax=ax,
    )
    for bars, (_, hatch) in zip(ax.containers, _FILLS, strict=False):
        for bar in bars:
            bar.set_hatch(hatch)
    for row, total in enumerate(totals.values()):
        ax.annotate(
            significant(total),
            (total, row),
            xytext=(3, 0),
            textcoords="offset points",
            va="center_baseline",
            gid="label",
        )
    rows(ax, list(totals))
    ax.margins(x=0.14)
    row_label(ax, list(totals), "peak of a training step, live tensors (MB)")
    short_ticks(ax)
    handles = [Patch(facecolor=colour, hatch=hatch, edgecolor="white", lw=0.3) for colour, hatch in _FILLS]
    figure = ax.get_figure(root=True)
    assert isinstance(figure, Figure)
    handles_below(figure, handles, labels)
    return ax
