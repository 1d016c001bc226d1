"""Small panels of equal axes, one a method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.figures.labels import fitting, wrapped
from reports.figures.style import POINTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INCHES = 1.35
"""Least width of a panel."""
_HEIGHT = 0.82


def columns_of(count: int, width: float) -> int:
    """How many panels stand side by side, as evenly as their number allows.

    >>> columns_of(7, 3.3), columns_of(7, 6.9)
    (2, 4)
    """
    fit = max(int((width - 0.35) / _INCHES), 1)
    return -(-count // -(-count // fit))


def height_of(count: int, width: float) -> float:
    """Inches that so many panels take, with the labels of the axes."""
    return 0.4 + -(-count // columns_of(count, width)) * (_HEIGHT + POINTS * 1.6 / 72)


def multiples(figure: Figure, names: Sequence[str], *, x: str, y: str) -> list[Axes]:
    """Makes the panels, each with its name above, and writes the labels that all share once.

    Args:
        figure: an empty one.
        names: of the panels.
        x: label of the horizontal axes.
        y: label of the vertical ones.
    """
    columns = columns_of(len(names), figure.get_figwidth())
    bands = -(-len(names) // columns)
    grid = figure.subplots(bands, columns, sharex=True, sharey=True, squeeze=False)
    every: list[Axes] = list(grid.flatten())
    for at, ax in enumerate(every[len(names) :], len(names)):
        every[at - columns].tick_params(axis="x", labelbottom=True)  # nothing stands below it
        ax.remove()
    shown = every[: len(names)]
    inches = (figure.get_figwidth() - 0.45) / columns
    for ax, name in zip(shown, names, strict=True):
        ax.set_title(wrapped(name, max(int(inches * 72 / (POINTS * 0.66)), 8)))
    for ax in shown[-columns:]:  # the lowest of each column; a label of the whole figure would lie on its key
        ax.set_xlabel(fitting(x, inches))
    figure.supylabel(fitting(y, figure.get_figheight()), fontsize=POINTS)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)  # type: ignore[call-arg]
    return shown


def powers_of_ten(ax: Axes, *, ticks: int = 4) -> None:
    """Ticks of a logarithmic horizontal axis at whole powers of ten, written as 1e-3."""
    import math

    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    ax.xaxis.set_major_locator(LogLocator(numticks=ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"1e{round(math.log10(value))}"))
