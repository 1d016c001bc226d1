"""Writes tables for readers: in the terminal, in markdown and in LaTeX."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.columns.document import Column
from reports.tables.table import Cell, Table

if TYPE_CHECKING:
    from rich.console import Console

    from reports.tables.sections import Section

WIDTH = 120
"""Characters a line where the terminal does not say."""


def markdown_document(sections: Sequence[Section], extra: Sequence[Table], columns: Sequence[Column]) -> str:
    """The whole report in markdown: the answer first, then how sure it is, the tables, and what the figures are.

    Args:
        sections: in their order.
        extra: tables that belong to no section.
        columns: figures to define.
    """
    lines = ["# Which method should I use?", ""]
    for section in sections:
        lines += [f"## {plain_markdown(section.title)}", "", plain_markdown(" ".join(section.headline)), ""]
        lines.append(markdown(section.answers))
        lines += _list("How sure is this?", section.sure)
        lines += _list("What was not measured, and what is only estimated", section.missing)
        if section.savings:
            lines += _list(section.savings.title, section.savings.sentences)
        lines += [markdown(table) for table in section.every_table[1:]]
    lines += map(markdown, extra)
    lines += ["## What the figures are", "", "A figure that was not measured is absent, never 0.", ""]
    lines += [f"- **{plain_markdown(column.label)}**: {plain_markdown(definition(column))}" for column in columns]
    return "\n".join([*lines, ""])


def _list(title: str, items: Sequence[str]) -> list[str]:
    return [f"### {title}", "", *(f"- {plain_markdown(item)}" for item in items), ""] if items else []


def markdown(table: Table) -> str:
    """A table in GitHub's markdown with its title and notes; numbers to the right, the best of a column in bold."""
    lines = [f"### {plain_markdown(table.title)}", ""]
    lines += [plain_markdown(table.reads), ""] if table.reads else []
    lines.append(markdown_row([plain_markdown(head.text) for head in table.header]))
    lines.append(markdown_row(["---:" if head.numeric else "---" for head in table.header]))
    for row in table.rows:
        texts = [plain_markdown(cell.text) for cell in row]
        lines.append(
            markdown_row([f"**{text}**" if cell.strong else text for cell, text in zip(row, texts, strict=True)])
        )
    notes = [f"- {plain_markdown(note)}" for note in (*table.notes, *table.details)]
    return "\n".join([*lines, "", *notes, *([""] if notes else [])])


def markdown_row(cells: Sequence[str]) -> str:
    """A row of a table in markdown, of texts that are markdown already."""
    return f"| {' | '.join(cells)} |"


def plain_markdown(text: str) -> str:
    """Text that markdown takes as it stands, on one line."""
    return re.sub(r"([\\|<>*`\[\]_~#&])", r"\\\1", " ".join(text.split()))


def slug(text: str) -> str:
    """A text as a piece of a file name or label.

    >>> slug("minilm-l6, K=100")
    'minilm-l6-k-100'
    """
    return re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-") or "x"


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
} | {mark: f"\\{mark}" for mark in "&%$#_{}"}


LATEX_NEEDS = r"% \usepackage{array,booktabs} in the preamble; then \input this file"
"""What a document must load for `latex`'s tables."""

MOST_COLUMNS = 8
"""Columns of a table in LaTeX; a wider one is split, its first columns repeated."""
_LETTER, _GAP = 4.7, 8.0  # points: a letter at footnotesize, the space between two columns
_PAGE, _COLUMN = 345.0, 219.0  # points: the text of an article, and of a column of a paper that is set in two
_NOTES = 285  # letters: three lines across a page
_SHORT = 12  # letters of a column that is never set as a paragraph
_WRAPPED = 16  # letters of a line of a cell that is set as a paragraph, at least
_LONG = 30  # letters of a cell beyond which it is set as a paragraph


def latex_document(sections: Sequence[Section], extra: Sequence[Table], columns: Sequence[Column]) -> str:
    """All tables of a report for LaTeX, with an appendix of their longer notes and of every figure's definition.

    Args:
        sections: whose tables are written.
        extra: tables that belong to no section.
        columns: figures to define, each once.
    """
    tables = [
        (table, table.key if len(sections) == 1 else f"{table.key}-{number}")
        for number, section in enumerate(sections, 1)
        for table in section.every_table
        if table.rows
    ] + [(table, table.key) for table in extra]
    lines = [LATEX_NEEDS, "", *(latex(table, label=label) for table, label in tables)]
    lines += [r"\clearpage", r"\section*{Notes and definitions}", r"\footnotesize"]
    for table, label in tables:
        if rest := [*_split_notes(table)[1], *table.details]:
            lines.append(rf"\paragraph{{Table~\ref{{tab:{label}}}.}} {' '.join(_tex(note) for note in rest)}")
    lines += [rf"\paragraph{{{_tex(column.label)}.}} {_tex(definition(column))}" for column in columns]
    return "\n".join([*lines, r"\normalsize", ""])


def definition(column: Column) -> str:
    """What a figure is and what is known to be wrong with it."""
    estimate = " An estimate: it ranks nothing." if column.estimated else ""
    return f"{column.says} Known error: {column.error}.{estimate}"


def latex(table: Table, *, label: str = "") -> str:
    """A table with booktabs' rules, split where it is wider than a page; needs array and booktabs.

    Args:
        table: of any width.
        label: it is referred to as `tab:` and this; empty: the table's key.
    """
    parts = _parts(table)
    made = []
    for number, columns in enumerate(parts):
        more = f" (part {number + 1} of {len(parts)})" if len(parts) > 1 else ""
        name = (label or table.key) + (f"-part-{number + 1}" if number else "")
        made.append(_latex_part(table, columns, more=more, label=name, first=not number))
    return "\n".join(made)


def _latex_part(table: Table, columns: Sequence[int], *, more: str, label: str, first: bool) -> str:
    wide = _points(table, columns)
    paragraphs = wide > _PAGE
    kind = "table" if wide <= _COLUMN else "table*"
    reads = f" {table.reads}" if table.reads and first else ""
    notes = _split_notes(table)[0] if first else []
    lines = [
        rf"\begin{{{kind}}}[htbp]",
        r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{_tex(table.title + more + '.' + reads)}}}",
        rf"\label{{tab:{slug(label)}}}",
        rf"\begin{{tabular}}{{@{{}}{_layout(table, columns, paragraphs=paragraphs)}@{{}}}}",
        r"\toprule",
        _tex_row([_tex_head(table, at, paragraphs=paragraphs) for at in columns]),
        r"\midrule",
        *(_tex_row([_tex_cell(row[at]) for at in columns]) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        *([rf"\par\smallskip\raggedright {' '.join(map(_tex, notes))}"] if notes else []),
        rf"\end{{{kind}}}",
    ]
    return "\n".join(lines) + "\n"


def _parts(table: Table) -> list[list[int]]:
    """The columns of each part: at most so many, and no wider than a page unless their texts are long."""
    names = next((at for at, head in enumerate(table.header) if head.numeric), 1)
    keys = list(range(min(names, 2)))
    long = any(len(row[at].text) > _LONG for row in table.rows for at in range(len(table.header)))
    most = _WRAPPED if long else None  # letters of a line of a cell
    rest = range(len(keys), len(table.header))

    def packed(limit: int) -> list[list[int]]:
        parts: list[list[int]] = [list(keys)]
        for at in rest:
            full = len(parts[-1]) >= limit or _points(table, [*parts[-1], at], most) > _PAGE
            if full and len(parts[-1]) > len(keys):
                parts.append(list(keys))
            parts[-1].append(at)
        return parts

    parts = packed(MOST_COLUMNS)
    even = packed(len(keys) + -(-len(rest) // len(parts)))  # rather 4 and 3 columns than 6 and 1
    return even if len(even) == len(parts) else parts


def _letters(table: Table, at: int) -> int:
    """The widest cell of a column, and no less than the widest word of its heading."""
    cells = max((len(row[at].text) for row in table.rows), default=0)
    return max(cells, *(len(line) for line in _head_lines(table, at, cells)))


def _head_lines(table: Table, at: int, cells: int) -> list[str]:
    return textwrap.wrap(table.header[at].text, max(cells, 9), break_long_words=False) or [""]


def _points(table: Table, columns: Sequence[int], most: int | None = None) -> float:
    """The width of so many columns, of which no cell's line is longer than `most` letters."""
    letters = (_letters(table, at) for at in columns)
    return sum(_LETTER * (count if most is None else min(count, most)) + _GAP for count in letters)


def _layout(table: Table, columns: Sequence[int], *, paragraphs: bool) -> str:
    """`lrr`, or paragraphs as wide as their texts ask for where a row has no room on a page."""
    if not paragraphs:
        return "".join("r" if table.header[at].numeric else "l" for at in columns)
    short = {at for at in columns if _letters(table, at) <= _SHORT}
    taken = sum(_LETTER * _letters(table, at) + _GAP for at in short)
    weights = {at: min(2 * _LONG, _letters(table, at)) for at in columns if at not in short}
    layout = []
    for at in columns:
        if at in short:
            layout.append("r" if table.header[at].numeric else "l")
            continue
        share = weights[at] / sum(weights.values())
        width = rf"\dimexpr {share:.3f}\linewidth-{share * taken + _GAP:.1f}pt\relax"
        layout.append(rf">{{\raggedright\arraybackslash}}p{{{width}}}")
    return "".join(layout)


def _tex_head(table: Table, at: int, *, paragraphs: bool) -> str:
    cells = max((len(row[at].text) for row in table.rows), default=0)
    lines = [_tex(line) for line in _head_lines(table, at, cells)]
    if paragraphs or len(lines) == 1:
        return " ".join(lines)
    side = "r" if table.header[at].numeric else "l"
    return rf"\shortstack[{side}]" + "{" + r" \\ ".join(lines) + "}"


def _tex_cell(cell: Cell) -> str:
    return rf"\textbf{{{_tex(cell.text)}}}" if cell.strong else _tex(cell.text)


def _split_notes(table: Table) -> tuple[list[str], list[str]]:
    """The notes that have room in three lines below a table, and the rest."""
    room, kept = _NOTES, 0
    for note in table.notes:
        room -= len(note)
        if room < 0:
            break
        kept += 1
    return list(table.notes[:kept]), list(table.notes[kept:])


def _tex_row(cells: Sequence[str]) -> str:
    # A bracket that opens a row would be read as the row end's optional argument.
    return " & ".join(f"{{}}{cell}" if cell.startswith("[") else cell for cell in cells) + r" \\"


def _tex(text: str) -> str:
    return "".join(_LATEX.get(mark, mark) for mark in " ".join(text.split()))


def terminal(tables: Sequence[Table], remarks: Sequence[str] = (), *, width: int | None = None) -> None:
    """Prints tables with their notes, then remarks; `width` is the characters a line where no terminal says."""
    console = _console(width)
    for table in tables:
        _print(console, table)
        for note in (*table.notes, *table.details):
            console.print(note, markup=False, highlight=False)
    for remark in remarks:
        console.print(remark, markup=False, highlight=False)


def screen(table: Table, lines: Sequence[str], *, most: int = 9, width: int | None = None) -> None:
    """Prints a table without its notes, and below it the first of some lines: as many as there is room for.

    Args:
        table: of a report, which has the notes.
        lines: the most important one first; each is wrapped to the terminal's width.
        most: lines below the table, after wrapping.
        width: characters a line where no terminal says.
    """
    console = _console(width)
    _print(console, table)
    room = most
    for line in lines:
        room -= len(textwrap.wrap(line, console.width))
        if room < 0 and line is not lines[0]:
            break
        console.print(line, markup=False, highlight=False)


def _console(width: int | None) -> Console:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = width or WIDTH
    return console


def _print(console: Console, table: Table) -> None:
    """A table with its title."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as Grid
    from rich.text import Text

    console.print(Text(table.title, "bold"))
    grid = Grid(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for number, head in enumerate(table.header):
        text, side = Text(head.short or head.text), "right" if head.numeric else "left"
        grid.add_column(text, justify=side, overflow="fold", vertical="bottom", no_wrap=not number)  # type: ignore[arg-type]
    for row in table.rows:
        grid.add_row(*(Text(cell.short or cell.text, "bold" if cell.strong else "") for cell in row))
    console.print(grid)
