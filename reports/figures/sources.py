"""What figures are drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.figures.style import Look
from reports.frame.estimates import Estimate
from reports.frame.panels import Panel
from reports.frame.searches import Searched
from reports.stats.best import MARGIN

if TYPE_CHECKING:
    import pandas as pd

    from reports.gates.frames import Study
    from reports.gates.table import GateTable


@dataclass(frozen=True)
class Setting:
    """A panel as figures see it.

    Attributes:
        panel: its methods, scores and costs.
        curves: of `reports.frame.frame.curves`, of all runs.
        looks: colour and marker of each method of the whole report, so that all figures agree.
    """

    panel: Panel
    curves: pd.DataFrame
    looks: Mapping[str, Look]

    @property
    def place(self) -> str:
        """All tasks together where that means anything, else the first column."""
        return self.panel.places[0]

    def cost(self, method: str, key: str) -> Estimate | None:
        """A method's cost over the whole panel; None where it was not measured."""
        return self.panel.costs.get((method, self.place), {}).get(key)

    def score(self, method: str) -> Estimate | None:
        """A method's score over the whole panel."""
        return self.panel.scores.get((method, self.place))


@dataclass(frozen=True)
class Tuning:
    """A panel whose hyper-parameters were searched.

    Attributes:
        panel: of the runs with what was chosen.
        searches: behind them, by method and column.
        looks: as in `Setting`.
        margin: the difference in score that makes none in practice.
    """

    panel: Panel
    searches: tuple[Searched, ...]
    looks: Mapping[str, Look]
    margin: float = MARGIN


@dataclass(frozen=True)
class GateSource:
    """A study of gates with its tables, by name."""

    study: Study
    tables: Mapping[str, GateTable]
