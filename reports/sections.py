"""What is said of each setting, made once for all formats: sentences, answers, tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.answers import answers
from reports.cells import Table
from reports.panels import Panel
from reports.tables import tables
from reports.words import sentences


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
