"""A table of the gate report: its numbers, and the file in which a study keeps all of its tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.errors import UserError
from reports.columns.numerals import general
from reports.tables.table import NOTHING, Cell, Head, Table

if TYPE_CHECKING:
    import pandas as pd

ONE_SEED = "One seed: no interval and no verdict."
STORED = "tables.json"
"""In OUT/gates: all tables of the last study, from which the page reads them."""


@dataclass(frozen=True)
class GateTable:
    """What a study says in one table.

    Attributes:
        name: of its files.
        says: what it shows and does not show.
        rows: the numbers; figures are drawn from them too.
    """

    name: str
    says: str
    rows: pd.DataFrame

    def table(self, about: str = "") -> Table:
        """As a table that every writer takes; `about` says which runs it is of."""
        return table_of(self.name, self.rows, f"{self.says} {about}".rstrip())


def table_of(name: str, rows: pd.DataFrame, *notes: str) -> Table:
    """A frame as a table; a column is numeric where it holds nothing but numbers."""
    columns = [[_cell(value) for value in rows[name]] for name in rows]
    numeric = [not any(isinstance(cell.value, str) for cell in cells) for cells in columns]
    header = tuple(Head(str(text), numeric=number) for text, number in zip(rows, numeric, strict=True))
    return Table(name, name.replace("_", " ").replace("-", " "), header, tuple(zip(*columns, strict=True)), notes)


def _cell(value: Any) -> Cell:
    import numpy as np
    import pandas as pd

    if pd.isna(value) or value == "":
        return NOTHING
    plain = value.item() if isinstance(value, np.generic) else value
    return Cell(general(plain) if isinstance(plain, int | float) else str(plain), plain)


class _Stored(BaseModel):
    """The content of `STORED`."""

    model_config = ConfigDict(extra="forbid")

    schema_number: Literal[1] = 1
    tables: tuple[Table, ...]


def store_tables(folder: Path, tables: Sequence[Table]) -> Path:
    """Writes tables with their values and texts, to be read by `stored_tables`."""
    path = folder / STORED
    path.write_text(_Stored(tables=tuple(tables)).model_dump_json() + "\n", "utf-8")
    return path


def stored_tables(folder: Path) -> tuple[Table, ...]:
    """The tables that a study left in a folder; those of an earlier version, which left CSV alone, are read from it.

    Raises:
        UserError: a file is damaged, or of a later version.
    """
    path = folder / STORED
    try:
        if path.is_file():
            return _Stored.model_validate_json(path.read_bytes()).tables
        return tuple(_from_csv(path := file) for file in sorted(folder.glob("*.csv")))
    except (ValidationError, ValueError) as error:
        raise UserError(f"{path} is damaged, or of another version: run bench gates again") from error


def _from_csv(path: Path) -> Table:
    import pandas as pd

    said = path.with_suffix(".txt")
    notes = [said.read_text("utf-8").strip()] if said.is_file() else []
    return table_of(path.stem, pd.read_csv(path, keep_default_na=False, na_values=["", "nan"]).convert_dtypes(), *notes)
