"""One comparison's report: made once, then printed, written as files and as the page."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UserError
from bench.records.store import Record, collector_paused, read_records
from bench.records.study import CONFIG, read_studies, write_studies
from reports.columns.indices import DERIVED, KNOWN
from reports.frame.environment import studies
from reports.frame.folders import check_one, read_profiles, side_by_side
from reports.frame.frame import BYS, By
from reports.frame.trials import without_trials
from reports.stats.best import MARGIN

if TYPE_CHECKING:
    import pandas as pd

    from reports.columns.document import Column
    from reports.figures.draw import Drawn
    from reports.figures.style import Paper
    from reports.frame.panels import Panel
    from reports.tables.sections import Section
    from reports.tables.table import Table

FORMATS = ("markdown", "latex", "csv", "json", "html", "svg", "pdf", "png")
"""What `Report.write` can leave; `Report.show` prints the terminal's table."""

DEFAULT_FORMATS = ("markdown", "csv", "html", "svg")


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that is said of a comparison. Each piece is computed when it is first needed, and kept.

    Attributes:
        records: of one comparison.
        outs: its folders, for the profiles and gate studies in them.
        baseline: a method's label; None: the one that stores most.
        by: what the tables' columns are.
        columns: keys of `reports.columns.indices.KNOWN` to show beside the scores; None: the usual few.
        margin: the difference in score that makes none in practice.

    Raises:
        UserError: unknown `by` or column; later, an unknown baseline.
    """

    records: Sequence[Record]
    outs: Sequence[Path] = ()
    baseline: str | None = None
    by: By = "task"
    columns: Sequence[str] | None = None
    margin: float = MARGIN

    def __post_init__(self) -> None:
        if not 0 <= self.margin < math.inf:
            raise UserError(f"--margin {self.margin:g}: a difference in score, 0 or more, such as {MARGIN:g}")
        if self.by not in BYS:
            raise UserError(f"--by {self.by}: one of {', '.join(BYS)}")

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row a run, with the derived columns that were chosen."""
        from reports.frame.frame import frame
        from reports.frame.panels import declared

        runs = frame(self.records, read_profiles(self.outs))
        _check_columns(self.columns, KNOWN | declared(runs))
        for key, derived in DERIVED.items():
            if key in (self.columns or ()):
                runs[key] = derived.of(runs)
        return runs

    @cached_property
    def panels(self) -> list[Panel]:
        """The settings of the runs, in the order they are shown."""
        from reports.frame.panels import panels

        return panels(self.runs, by=self.by, baseline=self.baseline)

    @cached_property
    def sections(self) -> list[Section]:
        """Sentences, answers and tables of each panel."""
        from reports.tables.sections import sections

        with collector_paused():
            return sections(self.panels, self.records, self.columns, margin=self.margin)

    @cached_property
    def published(self) -> Table | None:
        """Measured beside published scores; None where nothing was measured on a task of the paper."""
        from reports.tables.published import published_table

        return published_table(self.panels)

    def show(self) -> None:
        """Prints the main table of each panel and below it the answer; all else is in the files."""
        from reports.formats.text import screen

        for section in self.sections:
            screen(section.main, section.lines)

    @cached_property
    def defined(self) -> list[Column]:
        """Every figure that any table shows, each once, in the order of docs/definitions.md."""
        known = KNOWN | {key: column for panel in self.panels for key, column in panel.definitions.items()}
        return [known[key] for key in known if any(key == "score" or key in panel.figures for panel in self.panels)]

    def write(
        self,
        into: Path,
        *,
        formats: Sequence[str] = DEFAULT_FORMATS,
        command: str | None = None,
        paper: Paper | None = None,
    ) -> list[Path]:
        """Writes the report into a folder.

        Args:
            into: the folder; made if need be.
            formats: of `FORMATS`.
            command: what the page gives as the command to redo it; None: put together from the records.
            paper: width and theme of the figures; None: a column's width, for screens.

        Returns:
            The paths written: `report.md`, `report.tex`, `table.csv` and `runs.csv`, `report.json`, `report.html`,
            `figures/*`, and in any case `config.yaml`, with which `bench compare --config` does these runs again.

        Raises:
            UserError: unknown format; a damaged file of a gate study.
        """
        check_formats(formats)
        into.mkdir(parents=True, exist_ok=True)
        with collector_paused():
            return self._write(into, formats, command, paper)

    @cached_property
    def scored(self) -> list[Record]:
        """The records of the runs that are scored on the test rows; trials of searches are not."""
        return without_trials(self.records)

    def _write(self, into: Path, formats: Sequence[str], command: str | None, paper: Paper | None) -> list[Path]:
        paths = _write_tables(self, into, formats)
        if "json" in formats:
            from reports.formats.data import nested

            data: dict[str, Any] = {"schema_number": 1, "settings": nested(self.panels)}
            paths.append(_text(into / "report.json", json.dumps(data, allow_nan=False) + "\n"))
        files = _csv_files(self.panels, self.runs) if {"csv", "html"} & set(formats) else {}
        if "csv" in formats:
            paths += [_text(into / name, text) for name, text in files.items()]
        paths.append(_config(self.scored, self.outs, into))
        figures: list[Drawn] = []
        if {"svg", "pdf", "png"} & set(formats):
            from reports.figures.draw import draw_all
            from reports.figures.style import Paper

            folder = into / "figures"
            figures = draw_all(self.records, self.panels, self.runs, folder, formats, paper=paper or Paper())
        if "html" in formats:
            from reports.formats.page import page

            files[CONFIG] = (into / CONFIG).read_text("utf-8")
            shown = [figure for figure in figures if figure.path.suffix == ".svg"]
            paths.append(_text(into / "report.html", page(self, files=files, figures=shown, command=command)))
        return [*paths, *(figure.path for figure in figures)]


def read_report(
    outs: Sequence[Path],
    *,
    records: Sequence[Record] | None = None,
    baseline: str | None = None,
    by: By = "task",
    columns: Sequence[str] | None = None,
    margin: float = MARGIN,
) -> Report:
    """The report of one folder's records, or of several folders side by side.

    Args:
        outs: folders of comparisons.
        records: of the one folder, where they have been read; None reads them.
        baseline: a method's label; None: the one that stores most.
        by: what the tables' columns are.
        columns: figures to show beside the scores; None: the usual few.
        margin: the difference in score that makes none in practice.

    Raises:
        UserError: a folder without records; unknown `by` or column; what is not comparable, by name.
    """
    names = _names(outs)
    folders = {names[0]: list(records)} if records and len(outs) == 1 else {}
    folders = folders or {name: read_records(out) for name, out in zip(names, outs, strict=True)}
    for out, read in zip(outs, folders.values(), strict=True):
        check_one(read, out)
    return Report(records=side_by_side(folders), outs=outs, baseline=baseline, by=by, columns=columns, margin=margin)


def write(
    records: Sequence[Record],
    out: Path,
    *,
    baseline: str | None = None,
    by: By = "task",
    columns: Sequence[str] | None = None,
    margin: float = MARGIN,
    formats: Sequence[str] = DEFAULT_FORMATS,
    command: str | None = None,
    paper: Paper | None = None,
) -> list[Path]:
    """Writes the report of records into their folder; see `Report` and `Report.write`.

    The figures are drawn at the width and in the theme of `paper`; None: a column's width, for screens.

    Raises:
        UserError: unknown baseline, `by`, column or format; records that are not comparable.
    """
    check_formats(formats)
    check_one(records, out)
    report = Report(records=records, outs=[out], baseline=baseline, by=by, columns=columns, margin=margin)
    return report.write(out, formats=formats, command=command, paper=paper)


def check_formats(formats: Sequence[str]) -> None:
    """Raises UserError for a format that there is not."""
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"--format {name}: there is {', '.join(FORMATS)}")


def _check_columns(columns: Sequence[str] | None, keys: Iterable[str]) -> None:
    costs = [key for key in keys if key != "score"]
    for key in columns or ():
        if key not in costs:
            near = difflib.get_close_matches(key, costs, n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise UserError(f"--columns {key}: no such figure{hint} docs/definitions.md lists all")


def _names(outs: Sequence[Path]) -> list[str]:
    """The folders' last names where these differ, else their whole paths."""
    short = [out.resolve().name for out in outs]
    names = short if len(set(short)) == len(short) else [str(out) for out in outs]
    if len(set(names)) < len(names):
        raise UserError(f"{', '.join(names)}: name each folder once")
    return names


def _config(records: Sequence[Record], outs: Sequence[Path], into: Path) -> Path:
    """Writes the file that asks for all runs of a report again, where `bench compare` has not left it."""
    path = into / CONFIG
    files = [out / CONFIG for out in outs]
    whole = all(file.exists() for file in files)
    if whole and files == [path]:
        return path
    known = [study for file in files for study in read_studies(file)] if whole else studies(records)
    return write_studies(path, known)


def _csv_files(panels: list[Panel], runs: pd.DataFrame) -> dict[str, str]:
    """The numbers of the tables, and one row a run."""
    from reports.formats.data import summary

    return {
        "table.csv": summary(panels).to_csv(index=False),
        "runs.csv": runs.drop(columns=["seed", "absent", "declared"], errors="ignore").to_csv(index=False),
    }


def _write_tables(report: Report, into: Path, formats: Sequence[str]) -> list[Path]:
    """`report.md` and `report.tex`."""
    from reports.formats.text import latex_document, markdown_document

    extra = [] if report.published is None else [report.published]
    paths = []
    if "markdown" in formats:
        paths.append(_text(into / "report.md", markdown_document(report.sections, extra, report.defined)))
    if "latex" in formats:
        paths.append(_text(into / "report.tex", latex_document(report.sections, extra, report.defined)))
    return paths


def _text(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path
