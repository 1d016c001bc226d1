"""Writes tables for readers: in the terminal, in markdown and in LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reports.tables.table import Table

WIDTH = 120
"""Characters a line where the terminal does not say."""


def markdown(table: Table) -> str:
    """A table in GitHub's markdown with its title and notes; numbers to the right, the best of a column in bold."""
    lines = [f"### {plain_markdown(table.title)}", ""]
    lines.append(markdown_row([plain_markdown(head.text) for head in table.header]))
    lines.append(markdown_row(["---:" if head.numeric else "---" for head in table.header]))
    for row in table.rows:
        texts = [plain_markdown(cell.text) for cell in row]
        lines.append(
            markdown_row([f"**{text}**" if cell.strong else text for cell, text in zip(row, texts, strict=True)])
        )
    return "\n".join([*lines, "", *(f"- {plain_markdown(note)}" for note in table.notes), ""])


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


LATEX_NEEDS = r"% \usepackage{booktabs,graphicx} in the preamble; then \input this file"
"""What a document must load for `latex`'s tables."""


def latex(table: Table) -> str:
    """A table with booktabs' rules, its notes below in small type; needs booktabs and graphicx."""
    layout = "".join("r" if head.numeric else "l" for head in table.header)
    lines = [
        r"\begin{table}",
        r"\centering\small",
        rf"\caption{{{_tex(table.title)}}}",
        rf"\label{{tab:{slug(f'{table.key}-{table.title}')}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{@{{}}{layout}@{{}}}}",
        r"\toprule",
        _tex_row([_tex(head.text) for head in table.header]),
        r"\midrule",
        *(
            _tex_row([rf"\textbf{{{_tex(cell.text)}}}" if cell.strong else _tex(cell.text) for cell in row])
            for row in table.rows
        ),
        r"\bottomrule",
        r"\end{tabular}}",
        rf"\par\footnotesize\raggedright {' '.join(_tex(note) for note in table.notes)}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _tex_row(cells: Sequence[str]) -> str:
    # A bracket that opens a row would be read as the row end's optional argument.
    return " & ".join(f"{{}}{cell}" if cell.startswith("[") else cell for cell in cells) + r" \\"


def _tex(text: str) -> str:
    return "".join(_LATEX.get(mark, mark) for mark in " ".join(text.split()))


def terminal(tables: Sequence[Table], remarks: Sequence[str] = (), *, width: int | None = None) -> None:
    """Prints tables with their notes, then remarks; `width` is the characters a line where no terminal says."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console.width = width or WIDTH
    for table in tables:
        console.print(Text(table.title, "bold"))
        grid = Grid(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
        for number, head in enumerate(table.header):
            text, side = Text(head.short or head.text), "right" if head.numeric else "left"
            grid.add_column(text, justify=side, overflow="fold", vertical="bottom", no_wrap=not number)  # type: ignore[arg-type]
        for row in table.rows:
            grid.add_row(*(Text(cell.short or cell.text, "bold" if cell.strong else "") for cell in row))
        console.print(grid)
        for note in table.notes:
            console.print(Text(note))
    for remark in remarks:
        console.print(Text(remark))
