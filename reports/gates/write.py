"""Writes the gate report: tables as CSV and markdown, figures as SVG and PNG, each with its sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from reports.figures.drawing import Format, Written, write
from reports.figures.registry import drawings
from reports.figures.sources import GateSource
from reports.figures.style import COLUMN_INCHES
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
    paths: list[Path] = []
    for table in tables:
        path = folder / f"{table.name}.csv"
        table.rows.to_csv(path, index=False, float_format="%.6g")
        page = path.with_suffix(".md")
        text = "\n".join((table.says, "", study.about, "", *_rows(table, most=len(table.rows))))
        page.write_text(f"{text}\n", "utf-8")
        paths += [path, page, _say(path, table.says, study)]
    source = GateSource(study, {table.name: table for table in tables})
    drawn = write(drawings("gates", source, width), folder, FIGURE_FORMATS)
    for drawing, files in drawn:
        paths += [*files, _say(files[0], drawing.caption, study)]
    whole = folder / "gates.md"
    whole.write_text(_markdown(study, tables, drawn), "utf-8")
    paths.append(whole)
    _forget_others(folder, paths)
    return paths


def _say(path: Path, says: str, study: Study) -> Path:
    """Writes the sentence of a table or figure, and which runs it is of, beside it."""
    text = path.with_suffix(".txt")
    text.write_text(f"{says} {study.about}\n", "utf-8")
    return text


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
        lines += ["", f"## {table.name.replace('_', ' ')}", "", table.says, "", *_rows(table)]
    lines += ["", "## Figures", ""]
    lines += [f"![{item.caption}]({paths[0].name})\n\n{item.caption}\n" for item, paths in drawn]
    return "\n".join(lines) + "\n"


MOST_ROWS = 60


def _rows(table: GateTable, *, most: int = MOST_ROWS) -> Iterator[str]:
    """A table in markdown, cut after `most` rows; its own file is whole."""
    names = [str(name) for name in table.rows.columns]
    yield f"| {' | '.join(names)} |"
    yield f"|{'---|' * len(names)}"
    for row in table.rows.head(most).itertuples(index=False):
        yield f"| {' | '.join(map(_cell, row))} |"
    if len(table.rows) > most:
        yield ""
        yield f"{len(table.rows) - most} more rows in [{table.name}.md]({table.name}.md) and {table.name}.csv."


def _cell(value: Any) -> str:
    import pandas as pd

    if pd.isna(value):
        return ""
    if isinstance(value, float):
        if abs(value) >= 1000:
            return f"{value:,.0f}"
        return f"{value:.3f}" if value == 0 or abs(value) >= 0.01 else f"{value:.1e}"
    return str(value).replace("|", "\\|")


def gate_tables(study: Study) -> Iterator[GateTable]:
    """All tables that the study allows."""
    for make in MAKERS:
        table = make(study)
        if table is not None and len(table.rows):
            yield table
