"""What is said of each panel, made once for all formats: the answer, how sure it is, tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.records.store import Record
from reports.frame.frame import setting_words
from reports.frame.panels import Panel
from reports.stats.best import MARGIN
from reports.tables.answers import Advice, advice, answers
from reports.tables.decision import Decision, decide
from reports.tables.leader import leader
from reports.tables.savings import Savings, savings
from reports.tables.settings import settings_table
from reports.tables.summary import headline, missing, sure, terminal_lines
from reports.tables.table import Table
from reports.tables.tables import tables
from reports.tables.tuning import scope_sentences, tuning_tables


@dataclass(frozen=True)
class Section:
    """What is said of one panel.

    Attributes:
        title: its setting, for readers.
        decision: which method to use; None where no method has a score of every task.
        headline: the answer, and how sure it is, a sentence each.
        advice: what to use where something is to cost little.
        answers: the same as a table.
        sure: how sure the answer is.
        missing: what was not measured, or is only estimated.
        lines: what the terminal prints below the main table.
        savings: why few trained parameters save less than that; None where they do save.
        settings: what all runs share.
        tables: with rows; the first is the main table.
    """

    title: str
    decision: Decision | None
    headline: tuple[str, str]
    advice: tuple[Advice, ...]
    answers: Table
    sure: tuple[str, ...]
    missing: tuple[str, ...]
    lines: tuple[str, ...]
    savings: Savings | None
    settings: Table
    tables: tuple[Table, ...]

    @property
    def main(self) -> Table:
        """Scores and costs in one compact table, as the terminal shows it."""
        return self.tables[0]

    @property
    def every_table(self) -> tuple[Table, ...]:
        """All tables, in the order of a document."""
        return (self.answers, *self.tables, *([self.savings.table] if self.savings else []), self.settings)


def sections(
    panels: Sequence[Panel],
    records: Sequence[Record] = (),
    columns: Sequence[str] | None = None,
    *,
    margin: float = MARGIN,
) -> list[Section]:
    """A section for each panel, the main tables with the chosen columns.

    Args:
        panels: of a report.
        records: that they were made of, for the settings and the searches.
        columns: of the main table beside the scores; None: the usual few.
        margin: the difference in score that makes none in practice.
    """
    protocols = {setting_words(record.asked): record.asked.protocol for record in records}
    made = []
    for panel in panels:
        best = leader(panel)
        decision = decide(panel, best, margin)
        given = advice(panel, decision)
        made.append(
            Section(
                title=panel.name,
                decision=decision,
                headline=headline(panel, decision),
                advice=tuple(given),
                answers=answers(panel, decision, given),
                sure=(*sure(panel, best, decision), *scope_sentences(panel, records)),
                missing=tuple(missing(panel)),
                lines=tuple(terminal_lines(panel, decision, given, brief=len(panels) > 1)),
                savings=savings(panel),
                settings=settings_table(panel, protocols.get(panel.fixed.get("protocol", ""))),
                tables=(*tables(panel, columns), *tuning_tables(panel, records, margin=margin)),
            )
        )
    return made
