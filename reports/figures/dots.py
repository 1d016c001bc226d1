"""Small dot plots side by side: a row for each name, a panel for each quantity, nothing joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reports.figures.axes import cost_scale, is_wide, rows, rows_height, rows_width, short, short_ticks, whisker
from reports.figures.labels import wrapped
from reports.figures.style import POINTS, Look
from reports.frame.estimates import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL_INCHES = 0.8
_TITLE_LETTERS = 13


@dataclass(frozen=True)
class Quantity:
    """One panel: its title and each row's estimate; a row that is missing was not measured."""

    title: str
    values: Mapping[str, Estimate]
    factor: float = 1.0


@dataclass(frozen=True)
class DotGrid:
    """Quantities of the same rows, each on an axis of its own.

    Attributes:
        names: of the rows, the first on top.
        quantities: the panels.
        looks: colour and marker of each row.
        width: in inches, of the whole.
        shares: all quantities are shares of one whole, on linear axes whatever they span.
    """

    names: Sequence[str]
    quantities: Sequence[Quantity]
    looks: Mapping[str, Look]
    width: float
    shares: bool = False

    @property
    def columns(self) -> int:
        """How many panels stand side by side, as evenly as their number allows."""
        fit = max(int((self.width - rows_width(self.names)) / _PANEL_INCHES), 1)
        bands = -(-len(self.quantities) // fit)
        return -(-len(self.quantities) // bands)

    @property
    def height(self) -> float:
        """In inches."""
        bands = -(-len(self.quantities) // self.columns)
        return bands * (rows_height(self.names) + 0.32 + self._title_lines * POINTS * 1.25 / 72)

    @property
    def _title_lines(self) -> int:
        return max(self._title(quantity).count("\n") + 1 for quantity in self.quantities)

    def _title(self, quantity: Quantity) -> str:
        inches = (self.width - rows_width(self.names)) / self.columns
        return wrapped(quantity.title, max(_TITLE_LETTERS, int(inches * 72 / (POINTS * 0.66))))

    def draw(self, figure: Figure) -> None:
        """Draws the panels row by row; the names stand left of each row of panels."""
        columns = self.columns
        bands = -(-len(self.quantities) // columns)
        axes = figure.subplots(bands, columns, sharey=True, squeeze=False).flatten()
        for ax in axes[len(self.quantities) :]:
            ax.remove()
        for ax, quantity in zip(axes, self.quantities, strict=False):
            self._panel(ax, quantity)
        engine = figure.get_layout_engine()
        if engine is not None:
            engine.set(w_pad=0.03, h_pad=0.03, wspace=0.0, hspace=0.03)  # type: ignore[call-arg]

    def _panel(self, ax: Axes, quantity: Quantity) -> None:
        import seaborn as sns

        values = {name: estimate.mean / quantity.factor for name, estimate in quantity.values.items()}
        wide = not self.shares and is_wide(values.values())
        shown = {name: value for name, value in values.items() if value > 0 or not wide}
        places = {name: row for row, name in enumerate(self.names)}
        sns.scatterplot(
            x=list(shown.values()),
            y=[places[name] for name in shown],
            hue=list(shown),
            style=list(shown),
            palette={name: self.looks[name].colour for name in shown},
            markers={name: self.looks[name].marker for name in shown},
            s=26,
            linewidth=0.4,
            legend=False,
            zorder=3,
            ax=ax,
        )
        ends = [whisker(quantity.values[name], quantity.factor) for name in shown]
        colours: Any = [self.looks[name].colour for name in shown]  # one for each point
        ax.errorbar(
            list(shown.values()),
            [places[name] for name in shown],
            xerr=list(zip(*ends, strict=True)) if ends else None,
            fmt="none",
            ecolor=colours,
            elinewidth=0.8,
        )
        for name, row in places.items():
            if name not in shown:
                ax.text(
                    0.04,
                    row,
                    short(values[name]) if name in values else "\N{EN DASH}",
                    transform=ax.get_yaxis_transform(),
                    va="center_baseline",
                    color="#666666",
                )
        ax.margins(x=0.14)
        if self.shares:
            short_ticks(ax, ticks=2)
        else:
            cost_scale(ax, shown.values(), ticks=2)
        rows(ax, self.names)
        ax.hlines(range(len(self.names)), 0, 1, transform=ax.get_yaxis_transform(), color="#dddddd", lw=0.4, zorder=0)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.set_xlabel("")
        ax.set_title(self._title(quantity))
