"""What is said of each panel, made once for all formats: sentences, answers, tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.records.store import Record
from reports.frame.panels import Panel
from reports.tables.answers import answers
from reports.tables.summary import leader, sentences
from reports.tables.table import Table
from reports.tables.tables import tables
from reports.tables.tuning import scope_sentences, tuning_tables


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


def sections(
    panels: Sequence[Panel], records: Sequence[Record] = (), columns: Sequence[str] | None = None
) -> list[Section]:
    """A section for each panel.

    Args:
        panels: of a report.
        records: that they were made of, for the searches.
        columns: of the main table beside the scores; None: the usual few.
    """
    return [_section(panel, records, columns) for panel in panels]


def _section(panel: Panel, records: Sequence[Record], columns: Sequence[str] | None) -> Section:
    best = leader(panel)
    return Section(
        title=panel.title,
        sentences=(*sentences(panel, best), *scope_sentences(panel, records)),
        answers=answers(panel, best),
        tables=(*tables(panel, columns), *tuning_tables(panel, records)),
    )
