"""What `bench report` leaves behind: tables on the terminal, files, figures, the page."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UserError
from bench.records.store import Record, collector_paused, read_records
from bench.records.study import CONFIG, read_studies, write_studies
from reports.columns.indices import KNOWN
from reports.frame.environment import studies
from reports.frame.folders import check_one, read_profiles, side_by_side
from reports.frame.frame import BYS, By

if TYPE_CHECKING:
    import pandas as pd

    from reports.figures.draw import Drawn
    from reports.frame.panels import Panel
    from reports.tables.sections import Section
    from reports.tables.table import Table

FORMATS = ("markdown", "latex", "csv", "json", "html", "svg", "pdf", "png")
"""What `write` can leave; the terminal's table is `show`."""

DEFAULT_FORMATS = ("markdown", "csv", "html", "svg")


def show(
    records: Sequence[Record],
    *,
    out: Path | None = None,
    baseline: str | None = None,
    by: By = "task",
    columns: Sequence[str] | None = None,
) -> None:
    """Prints the compact table of each setting and the summary in words.

    Args:
        records: of one comparison.
        out: its folder, for the profiles there.
        baseline: a method's label; None: the one that stores most.
        by: what the tables' columns are.
        columns: keys of `reports.columns.document` to show beside the scores.

    Raises:
        UserError: unknown baseline, `by` or column.
    """
    _show(records, [] if out is None else [out], baseline=baseline, by=by, columns=columns)


def _show(
    records: Sequence[Record],
    outs: Sequence[Path],
    *,
    baseline: str | None,
    by: By,
    columns: Sequence[str] | None,
) -> None:
    from reports.formats.text import terminal
    from reports.tables.summary import sentences
    from reports.tables.tables import main

    found, _ = _panels(records, outs, baseline=baseline, by=by, columns=columns)
    for panel in found:
        terminal([main(panel, columns)], sentences(panel))


def write(
    records: Sequence[Record],
    out: Path,
    *,
    baseline: str | None = None,
    by: By = "task",
    columns: Sequence[str] | None = None,
    formats: Sequence[str] = DEFAULT_FORMATS,
    command: str | None = None,
) -> list[Path]:
    """Writes a comparison's report into its folder.

    Args:
        records: of one comparison.
        out: its folder; profiles and gate figures are read from there.
        baseline: a method's label; None: the one that stores most.
        by: what the tables' columns are.
        columns: keys of `reports.columns.document` to show beside the scores.
        formats: of `FORMATS`.
        command: what the page gives as the command to redo it; None: put together from the records.

    Returns:
        The paths written: `report.md`, `report.tex`, `table.csv` and `runs.csv`, `report.json`, `report.html`,
        `figures/*`, and in any case `config.yaml`, with which `bench compare --config` does these runs again.

    Raises:
        UserError: unknown baseline, `by`, column or format; records that are not comparable.
    """
    _check_formats(formats)
    check_one(records, out)
    with collector_paused():
        return _write(records, [out], out, baseline=baseline, by=by, columns=columns, formats=formats, command=command)


def write_many(
    outs: Sequence[Path],
    *,
    into: Path,
    baseline: str | None = None,
    by: By = "task",
    columns: Sequence[str] | None = None,
    formats: Sequence[str] = DEFAULT_FORMATS,
    quiet: bool = False,
) -> list[Path]:
    """Reads several folders, shows them side by side and writes one report.

    Raises:
        UserError: as for `write`, and by name what is not comparable between the folders.
    """
    _check_formats(formats)
    names = _names(outs)
    folders = {name: read_records(out) for name, out in zip(names, outs, strict=True)}
    for out, records in zip(outs, folders.values(), strict=True):
        check_one(records, out)
    records = side_by_side(folders)
    into.mkdir(parents=True, exist_ok=True)
    if not quiet:
        _show(records, outs, baseline=baseline, by=by, columns=columns)
    with collector_paused():
        return _write(records, outs, into, baseline=baseline, by=by, columns=columns, formats=formats, command=None)


def _names(outs: Sequence[Path]) -> list[str]:
    """The folders' last names where these differ, else their whole paths."""
    short = [out.resolve().name for out in outs]
    names = short if len(set(short)) == len(short) else [str(out) for out in outs]
    if len(set(names)) < len(names):
        raise UserError(f"{', '.join(names)}: name each folder once")
    return names


def _panels(
    records: Sequence[Record],
    outs: Sequence[Path],
    *,
    baseline: str | None,
    by: By,
    columns: Sequence[str] | None,
) -> tuple[list[Panel], pd.DataFrame]:
    from reports.columns.indices import PPT, PSCP, ppt_of, pscp_of
    from reports.frame.frame import frame
    from reports.frame.panels import declared, panels

    if by not in BYS:
        raise UserError(f"--by {by}: one of {', '.join(BYS)}")
    runs = frame(records, read_profiles(outs))
    _check_columns(columns, {**KNOWN, **declared(runs)})
    if columns and PSCP.key in columns:
        runs[PSCP.key] = pscp_of(runs)
    if columns and PPT.key in columns and "score" in runs:
        runs[PPT.key] = ppt_of(runs)
    return panels(runs, by=by, baseline=baseline), runs


def _check_columns(columns: Sequence[str] | None, known: Iterable[str]) -> None:
    known = [key for key in known if key != "score"]
    for key in columns or ():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise UserError(f"--columns {key}: no such figure{hint} docs/definitions.md lists all")


def _check_formats(formats: Sequence[str]) -> None:
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"--format {name}: there is {', '.join(FORMATS)}")


def _write(
    records: Sequence[Record],
    outs: Sequence[Path],
    into: Path,
    *,
    baseline: str | None,
    by: By,
    columns: Sequence[str] | None,
    formats: Sequence[str],
    command: str | None,
) -> list[Path]:
    from reports.tables.published import published_table
    from reports.tables.sections import sections

    found, runs = _panels(records, outs, baseline=baseline, by=by, columns=columns)
    parts, beside = sections(found, columns), published_table(found)
    paths = _write_tables(parts, beside, into, formats)
    if "json" in formats:
        from reports.formats.data import nested

        data: dict[str, Any] = {"schema_number": 1, "settings": nested(found)}
        paths.append(_text(into / "report.json", json.dumps(data, allow_nan=False) + "\n"))
    files = _csv_files(found, runs) if {"csv", "html"} & set(formats) else {}
    if "csv" in formats:
        paths += [_text(into / name, text) for name, text in files.items()]
    paths.append(_config(records, outs, into))
    figures: list[Drawn] = []
    if {"svg", "pdf", "png"} & set(formats):
        from reports.figures.draw import draw_all

        figures = draw_all(records, found, runs, into / "figures", formats)
    if "html" in formats:
        from reports.formats.page import page

        shown = [figure for figure in figures if figure.path.suffix == ".svg"]
        files[CONFIG] = (into / CONFIG).read_text("utf-8")
        text = page(found, parts, records, outs=outs, published=beside, files=files, figures=shown, command=command)
        paths.append(_text(into / "report.html", text))
    return [*paths, *(figure.path for figure in figures)]


def _config(records: Sequence[Record], outs: Sequence[Path], into: Path) -> Path:
    """Writes the file that asks for all runs of a report again, where `bench compare` has not left it."""
    path = into / CONFIG
    files = [out / CONFIG for out in outs]
    whole = all(file.exists() for file in files)
    if whole and files == [path]:
        return path
    known = [study for file in files for study in read_studies(file)] if whole else studies(records)
    return write_studies(path, known)


def _csv_files(found: list[Panel], runs: pd.DataFrame) -> dict[str, str]:
    """The numbers of the tables, and one row a run."""
    from reports.formats.data import summary

    return {
        "table.csv": summary(found).to_csv(index=False),
        "runs.csv": runs.drop(columns=["seed", "absent", "declared"], errors="ignore").to_csv(index=False),
    }


def _write_tables(parts: list[Section], beside: Table | None, into: Path, formats: Sequence[str]) -> list[Path]:
    """`report.md` and `report.tex`."""
    from reports.formats.text import LATEX_NEEDS, latex, markdown, plain_markdown

    paths, extra = [], [] if beside is None else [beside]
    if "markdown" in formats:
        lines = ["# Comparison", ""]
        for part in parts:
            lines += [f"## {plain_markdown(part.title)}", ""]
            lines += [f"- {plain_markdown(text)}" for text in part.sentences]
            lines += ["", *map(markdown, (part.answers, *part.tables))]
        paths.append(_text(into / "report.md", "\n".join([*lines, *map(markdown, extra)])))
    if "latex" in formats:
        every = [table for part in parts for table in (part.answers, *part.tables)] + extra
        paths.append(_text(into / "report.tex", "\n".join([LATEX_NEEDS, *map(latex, every)])))
    return paths


def _text(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path
