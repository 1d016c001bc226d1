"""What is said of each setting, made once for all formats: sentences, answers, tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.frame.panels import Panel
from reports.tables.answers import answers
from reports.tables.summary import sentences
from reports.tables.table import Table
from reports.tables.tables import tables


@dataclass(frozen=True)
class Section:
    """One setting's summary in words, what buys most, and its tables."""

    title: str
    sentences: tuple[str, ...]
    answers: Table
    tables: tuple[Table, ...]


def sections(panels: Sequence[Panel], columns: Sequence[str] | None = None) -> list[Section]:
    """A section for each panel, the main tables with the columns asked for."""
    return [
        Section(panel.title, tuple(sentences(panel)), answers(panel), tuple(tables(panel, columns))) for panel in panels
    ]
