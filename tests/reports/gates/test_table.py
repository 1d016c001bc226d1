"""Tables of a gate study: kept with their values, read back the same, and from the CSV of an earlier version."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bench.errors import UserError
from reports.formats.data import csv_of
from reports.gates.table import STORED, GateTable, store_tables, stored_tables

ROWS = pd.DataFrame({"layer": [0, 1], "part": ["lora", ""], "mean": [0.123456789, None], "runs": [2, None]}).astype(
    {"runs": "Int64"}
)


def test_tables_come_back_as_they_were(tmp_path: Path) -> None:
    table = GateTable("value_and_effect", "What it shows.", ROWS).table("Runs: two.")
    assert table.notes == ("What it shows. Runs: two.",)
    assert [head.numeric for head in table.header] == [True, False, True, True]
    assert [cell.text for cell in table.rows[0]] == ["0", "lora", "0.123", "2"]
    assert [cell.value for cell in table.rows[1]] == [1, None, None, None]
    store_tables(tmp_path, [table])
    assert stored_tables(tmp_path) == (table,)
    assert csv_of(table) == "layer,part,mean,runs\n0,lora,0.123457,2\n1,,,\n"


def test_the_csv_of_an_earlier_version_loses_nothing(tmp_path: Path) -> None:
    table = GateTable("value_and_effect", "What it shows.", ROWS).table()
    (tmp_path / "value_and_effect.csv").write_text(csv_of(table))
    (tmp_path / "value_and_effect.txt").write_text("What it shows.\n")
    (old,) = stored_tables(tmp_path)
    assert [[cell.text for cell in row] for row in old.rows] == [[cell.text for cell in row] for row in table.rows]
    assert (old.key, old.title, old.header, old.notes) == (table.key, table.title, table.header, table.notes)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / STORED).write_text('{"schema_number": 2, "tables": []}')
    with pytest.raises(UserError, match=r"tables.json is damaged, or of another version: run bench gates again"):
        stored_tables(tmp_path)
