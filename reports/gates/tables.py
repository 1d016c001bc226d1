"""All tables of a gate study. Each is a frame and a sentence on what it shows and does not show."""

from __future__ import annotations

from collections.abc import Iterator

from reports.gates.ablations import interventions, retrained
from reports.gates.counts import effective_counts, idle_figures
from reports.gates.frames import Study
from reports.gates.table import GateTable
from reports.gates.ties import correlations, means, value_and_effect, variance

MAKERS = (
    means,
    variance,
    value_and_effect,
    correlations,
    interventions,
    retrained,
    effective_counts,
    idle_figures,
)


def gate_tables(study: Study) -> Iterator[GateTable]:
    """All tables that the study allows."""
    for make in MAKERS:
        table = make(study)
        if table is not None and len(table.rows):
            yield table
