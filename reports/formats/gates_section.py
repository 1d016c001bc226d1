"""What `bench gates` left in OUT/gates, for the page: figures and tables, each with its sentence."""

from __future__ import annotations

import base64
import csv
import math
from pathlib import Path

from reports.columns.numerals import ABSENT
from reports.tables.table import Cell, Head, Table

FIGURE_BYTES = 700_000
"""A larger figure is not embedded."""


def gate_figures(out: Path) -> list[dict[str, str]]:
    """Each SVG of OUT/gates as an image that can run nothing."""
    found = []
    for path in sorted((out / "gates").glob("*.svg")):
        if path.stat().st_size <= FIGURE_BYTES:
            data = base64.b64encode(path.read_bytes()).decode()
            found.append({"link": f"data:image/svg+xml;base64,{data}", "says": says(path), "name": path.stem})
    return found


def gate_tables(out: Path) -> list[Table]:
    """Each CSV of OUT/gates as a table."""
    found = []
    for path in sorted((out / "gates").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.reader(stream))
        if not rows:
            continue
        numeric = [all(_number(row[at]) is not None for row in rows[1:] if row[at]) for at in range(len(rows[0]))]
        header = tuple(Head(name, numeric=number) for name, number in zip(rows[0], numeric, strict=True))
        body = tuple(tuple(_cell(text) for text in row) for row in rows[1:])
        found.append(Table(f"gates-{path.stem}", _title(path), header, body, (says(path),)))
    return found


def _title(path: Path) -> str:
    return path.stem.replace("_", " ").replace("-", " ")


def says(path: Path) -> str:
    """The sentence beside it: the first line of text of the markdown or text file of the same name."""
    for suffix in (".txt", ".md"):
        beside = path.with_suffix(suffix)
        if beside.is_file():
            lines = (line.strip() for line in beside.read_text("utf-8").splitlines())
            text = next((line for line in lines if line and line[0] not in "#|"), "")
            if text:
                return text
    return f"{_title(path)}: see bench gates for what it shows and does not show."


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _cell(text: str) -> Cell:
    number = _number(text)
    if number is None or not math.isfinite(number):
        return Cell(text or ABSENT, text or None)
    return Cell(text if number.is_integer() else f"{number:.4g}", number)
