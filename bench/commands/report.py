"""`bench report` and `bench export` present finished runs; `bench list` shows what the other commands can name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.errors import UserError

if TYPE_CHECKING:
    from bench.records.store import Record

MARGIN = 0.01
"""As `reports.stats.best.MARGIN`, which is not imported for the help alone."""


def report(
    outs: Annotated[list[Path], typer.Argument(help="Folders of comparisons; several get one common report.")],
    baseline: Annotated[
        str | None,
        typer.Option(
            help="The method that the others are compared with. [default: the one that stores the most parameters]"
        ),
    ] = None,
    by: Annotated[str, typer.Option(help="What the columns of scores are: task, k or model.")] = "task",
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--columns",
            "-c",
            help="Figures to show, separated by commas; the word help lists and explains all of them.",
        ),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="Formats to write, separated by commas: markdown, latex, csv, json, html, svg, pdf, png. "
            "[default: markdown,csv,html,svg]",
        ),
    ] = None,
    into: Annotated[
        Path | None, typer.Option(help="Folder for the common report of several folders. [default: ./comparison]")
    ] = None,
    figure_width: Annotated[
        str, typer.Option(help="Width of figures: column (3.3 in), page (6.9 in), or a number of inches.")
    ] = "column",
    figure_theme: Annotated[str, typer.Option(help="light, for screens, or print: black on white, no grid.")] = "light",
    margin: Annotated[
        float, typer.Option(help="Difference in score that makes none in practice: `as good` means no worse than this.")
    ] = MARGIN,
) -> None:
    """Writes the report of finished comparisons again: tables, figures and the page. Nothing is trained."""
    if columns == ["help"]:  # prints docs/definitions.md
        from reports.columns.document import document

        print(document(), end="")
        return
    wanted = [name for text in columns or [] for name in text.split(",")]
    kinds = [name for text in formats or [] for name in text.split(",")]
    write_report(
        outs, baseline=baseline, by=by, columns=wanted or None, formats=kinds or None, into=into,
        figure_width=figure_width, figure_theme=figure_theme, margin=margin,
    )  # fmt: skip


def write_report(
    outs: Sequence[Path],
    *,
    baseline: str | None = None,
    by: str = "task",
    columns: Sequence[str] | None = None,
    formats: Sequence[str] | None = None,
    into: Path | None = None,
    figure_width: str = "column",
    figure_theme: str = "light",
    margin: float = MARGIN,
    records: Sequence[Record] | None = None,
) -> None:
    """Shows the main table and writes all else.

    Args:
        outs: folders of comparisons.
        baseline: the method that the others are compared with.
        by: what the columns are.
        columns: figures to show.
        formats: of the files.
        into: where several folders' common report goes.
        figure_width: of each figure: `column`, `page` or inches.
        figure_theme: `light` or `print`.
        margin: the difference in score that makes none in practice.
        records: of the one folder, where they have been read; None reads them.

    Raises:
        UserError: no records, unknown columns, folders that are not comparable,
            `into` with one folder, or an unknown width or theme of figures.
    """
    from reports.frame.frame import BYS
    from reports.report import DEFAULT_FORMATS, check_formats, read_report

    if by not in BYS:
        raise UserError(f"--by {by}: there is {', '.join(BYS)}")
    from reports.figures.style import paper_of

    paper = paper_of(figure_width, figure_theme)
    kinds = formats or DEFAULT_FORMATS
    check_formats(kinds)
    if len(outs) == 1 and into is not None:
        raise UserError(f"--into {into}: one folder's report lies in that folder; name two folders or drop --into")
    made = read_report(outs, records=records, baseline=baseline, by=by, columns=columns, margin=margin)
    made.show()
    into = outs[0] if len(outs) == 1 else into or Path("comparison")
    paths = made.write(into, formats=kinds, paper=paper)
    print(f"written: {', '.join(_shortened(paths, into))}")


def _shortened(paths: Sequence[Path], into: Path) -> list[str]:
    """The page with its folder, then what else lies there, a folder by its name."""
    names = dict.fromkeys(path.relative_to(into).parts[0] + "/" * (path.parent != into) for path in paths)
    first = next((name for name in ("report.html", "report.md") if name in names), next(iter(names)))
    return [str(into / first), *(name for name in names if name != first)]


def show_choices(records: Sequence[Record]) -> None:
    """Prints what each search chose, with its dev score and how far from it other values are as good."""
    from reports.formats.text import terminal
    from reports.tables.tuning import search_table

    terminal([search_table(records)], [])


def export(out: Annotated[Path, typer.Argument(help="Folder of a comparison.")]) -> None:
    """Prints the records of all runs, one line of JSON each."""
    from bench.records.store import read_records

    for record in read_records(out):
        print(record.as_json())


def list_(what: Annotated[str, typer.Argument(help="methods, tasks, models, meters, executors or kinds.")]) -> None:
    """Lists the names that other commands take: of methods, tasks, models, meters, executors or kinds of task."""
    from bench.registry.listing import LISTINGS

    if what not in LISTINGS:
        raise UserError(f"cannot list {what!r}; there is {', '.join(LISTINGS)}")
    for name, about in LISTINGS[what]():
        print(f"{name:<18} {about}".rstrip())
