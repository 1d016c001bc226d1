"""Writes the gate report: tables as CSV, JSON, markdown and LaTeX, figures as SVG and PNG, each with its sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from reports.figures.drawing import Format, Written, write
from reports.figures.registry import drawings
from reports.figures.sources import GateSource
from reports.figures.style import COLUMN_INCHES
from reports.formats.data import csv_of
from reports.formats.text import LATEX_NEEDS, latex, markdown
from reports.gates.ablations import interventions, retrained
from reports.gates.counts import effective_counts, idle_figures
from reports.gates.frames import Study
from reports.gates.table import GateTable, store_tables
from reports.gates.ties import correlations, means, value_and_effect, variance
from reports.tables.table import Table, shortened

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

MOST_ROWS = 60
"""Rows of a table in gates.md and gates.tex; its own files have all."""
WRITTEN = ".written"
"""Lists the files of the last study."""
FIGURE_FORMATS: tuple[Format, ...] = ("svg", "png")


def write_gates(out: Path, study: Study, *, width: float = COLUMN_INCHES) -> list[Path]:
    """Writes everything that can be said of the gates of one method into `OUT/gates`.

    What an earlier study of other runs wrote there, and this one does not, is removed: nothing is mixed.

    Args:
        out: folder of the comparison.
        study: what was measured of the gates.
        width: of each figure in inches.

    Returns:
        The files written.
    """
    folder = out / "gates"
    folder.mkdir(parents=True, exist_ok=True)
    tables = list(gate_tables(study))
    whole = [table.table(study.about) for table in tables]
    paths = [store_tables(folder, whole), _text(folder / "gates.tex", _latex(whole))]
    for table in whole:
        paths.append(_text(folder / f"{table.key}.csv", csv_of(table)))
        paths.append(_text(folder / f"{table.key}.md", markdown(table)))
        paths.append(_text(folder / f"{table.key}.txt", f"{table.notes[0]}\n"))
    source = GateSource(study, {table.name: table for table in tables})
    drawn = write(drawings("gates", source, width), folder, FIGURE_FORMATS)
    for drawing, files in drawn:
        paths += [*files, _say(files[0], drawing.caption, study)]
    paths.append(_text(folder / "gates.md", _markdown(study, tables, drawn)))
    _forget_others(folder, paths)
    return paths


def _say(path: Path, says: str, study: Study) -> Path:
    """Writes the sentence of a figure, and which runs it is of, beside it."""
    return _text(path.with_suffix(".txt"), f"{says} {study.about}\n")


def _forget_others(folder: Path, paths: Sequence[Path]) -> None:
    """Removes what the study before this one wrote and this one does not, and notes what this one wrote."""
    listed = folder / WRITTEN
    names = {path.name for path in paths}
    before = listed.read_text("utf-8").splitlines() if listed.exists() else []
    for name in set(before) - names:
        if Path(name).name == name:
            (folder / name).unlink(missing_ok=True)
    listed.write_text("\n".join(sorted(names)) + "\n", "utf-8")


def _markdown(study: Study, tables: list[GateTable], drawn: list[Written]) -> str:
    """The whole as one document."""
    lines = [
        f"# Gates of {study.method}",
        "",
        study.about,
        f"{len(study.runs)} runs; at most {study.examples} test rows of each, drawn with seed 0, the same in all runs of "
        "a task.",
    ]
    if study.left_out:
        lines += ["", "Left out:", "", *(f"- {line}" for line in study.left_out)]
    for table in tables:
        lines += ["", markdown(shortened(table.table(), MOST_ROWS, f"{table.name}.csv")).rstrip()]
    lines += ["", "## Figures", ""]
    lines += [f"![{item.caption}]({paths[0].name})\n\n{item.caption}\n" for item, paths in drawn]
    return "\n".join(lines) + "\n"


def _latex(tables: Sequence[Table]) -> str:
    """All tables, the long ones cut."""
    cut = [shortened(table, MOST_ROWS, f"{table.key}.csv") for table in tables]
    return "\n".join([LATEX_NEEDS, *map(latex, cut)])


def _text(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def gate_tables(study: Study) -> Iterator[GateTable]:
    """All tables that the study allows."""
    for make in MAKERS:
        table = make(study)
        if table is not None and len(table.rows):
            yield table
