"""Writes the gate report: tables as CSV, JSON, markdown and LaTeX, figures as SVG and PNG, each with its sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from reports.figures.style import COLUMN_INCHES, figure, paper
from reports.formats.data import csv_of
from reports.formats.text import LATEX_NEEDS, latex, markdown
from reports.gates import figures
from reports.gates.ablations import interventions, retrained
from reports.gates.counts import effective_counts, idle_figures
from reports.gates.frames import Study
from reports.gates.table import GateTable, store_tables
from reports.gates.ties import correlations, means, value_and_effect, variance
from reports.tables.table import Table, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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

PNG_DPI = 300
PAGE_INCHES = 6.9
"""Width of a figure across both columns."""
MOST_ROWS = 60
"""Rows of a table in gates.md and gates.tex; its own files have all."""
WRITTEN = ".written"
"""Lists the files of the last study."""


@dataclass(frozen=True)
class GateFigure:
    """A figure: its file's name, what it shows and does not show, what draws it, its size in inches."""

    name: str
    says: str
    draw: Callable[[Axes], object]
    height: float = 2.2
    width: float = COLUMN_INCHES

    @property
    def file(self) -> str:
        """Its file's name without suffix: task labels hold slashes and spaces."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.name)


def write_gates(out: Path, study: Study) -> list[Path]:
    """Writes everything that can be said of the gates of one method into `OUT/gates`.

    What an earlier study of other runs wrote there, and this one does not, is removed: nothing is mixed.

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
    drawn = list(_figures(study, {table.name: table for table in tables}))
    for item in drawn:
        paths += _draw(folder, item, study)
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


def _figures(study: Study, tables: dict[str, GateTable]) -> Iterator[GateFigure]:
    caveat = "A gate's value alone does not say what its part does."
    for task in study.tasks:
        says = f"{task}: mean gate on the test rows by layer and part, all seeds. {caveat}"
        yield GateFigure(f"heat_map_{task}", says, partial(figures.heat_map, study, task), 2.2)
    says = f"Distribution of gate values over examples, layers and seeds, by task and part; the bar is the median. {caveat}"
    yield GateFigure("distributions", says, partial(figures.distributions, study))
    if "variance" in tables:
        rows = tables["variance"].rows
        says = (
            f"{tables['variance'].says} Segments under {figures.LABELLED_SHARE} carry no interval here, variance.md has all; "
            "a bar longer than 1 means that length hid differences."
        )
        yield GateFigure("variance_bars", says, partial(figures.variance_bars, rows), 2.9, PAGE_INCHES)
    for name in ("interventions", "retrained"):
        if name not in tables:
            continue
        rows = tables[name].rows
        for place in dict.fromkeys(rows["task"]):
            slug = str(place).replace(" ", "_")
            count = int(((rows["task"] == place) & rows["difference"].notna()).sum())
            yield GateFigure(
                f"{name}_{slug}",
                f"{place}: {tables[name].says}",
                partial(figures.ablation_bars, rows, str(place)),
                0.8 + 0.17 * count,
            )
    if any(r.result and r.result.effective and r.result.effective.active_curve for r in study.runs):
        says = "active(tau): share of the stored parameters behind gates above tau; mean over seeds, band: their range."
        yield GateFigure(
            "active_curves",
            f"{says} It rests on the gates' arbitrary scale.",
            partial(figures.active_curves, study),
            3.0,
        )
    for effect in ("contribution", "loss_change"):
        for task in study.tasks:
            says = f"{task}: each gate's mean value against its part's {effect.replace('_', ' ')}, one point a gate and seed."
            yield GateFigure(
                f"gate_against_{effect}_{task}", f"{says} Points of one run are not independent.",
                partial(figures.gate_against, study, effect, task),
            )  # fmt: skip


def _draw(folder: Path, item: GateFigure, study: Study) -> list[Path]:
    """One figure in both formats, and its sentence beside it."""
    with paper():
        drawn, ax = figure(height=item.height, width=item.width)
        item.draw(ax)
        paths = []
        for suffix, settings in ((".svg", {"metadata": {"Date": None}}), (".png", {"dpi": PNG_DPI})):
            path = folder / f"{item.file}{suffix}"
            drawn.savefig(path, bbox_inches="tight", **settings)
            paths.append(path)
    return [*paths, _say(paths[0], item.says, study)]


def _markdown(study: Study, tables: list[GateTable], drawn: list[GateFigure]) -> str:
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
    lines += [f"![{item.says}]({item.file}.svg)\n\n{item.says}\n" for item in drawn]
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
