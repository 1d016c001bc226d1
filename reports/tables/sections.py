"""The sections of a report: sentences, answers and tables of each panel, computed once for all formats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.frame.panels import Panel
from reports.tables.answers import answers
from reports.tables.summary import leader, sentences
from reports.tables.table import Table
from reports.tables.tables import tables


@dataclass(frozen=True)
class Section:
    """One panel's summary in words, what buys most, and its tables.

    Attributes:
        title: of the panel.
        sentences: the summary.
        answers: the cheapest method that may equal the best one, for each cost.
        tables: with rows; the first is the main table.
    """

    title: str
    sentences: tuple[str, ...]
    answers: Table
    tables: tuple[Table, ...]

    @property
    def main(self) -> Table:
        """Scores and costs in one compact table, as the terminal shows it."""
        return self.tables[0]


def sections(panels: Sequence[Panel], columns: Sequence[str] | None = None) -> list[Section]:
    """A section for each panel, the main tables with the columns asked for."""
    return [_section(panel, columns) for panel in panels]


def _section(panel: Panel, columns: Sequence[str] | None) -> Section:
    best = leader(panel)
    return Section(panel.title, tuple(sentences(panel, best)), answers(panel, best), tuple(tables(panel, columns)))
