"""Reads rows from files. To add a file format, write one function and add an entry to `FILE_FORMATS`, at the end.

csv and jsonl are read here and not by `datasets`, because a mistake in a file must be reported with its line and no
value may be guessed. pandas and Arrow, which read these formats for `datasets`, turn the label "01" into 1, the text
"None" into a missing value and a text that looks like a date into a date, and they report no line numbers.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.errors import UserError

NumberedRecords = Iterable[tuple[int, dict[str, Any]]]
"""The records of a file, each with the number of its line (in a parquet file: of its row), counted from 1.

A record maps the names of the columns to their values.
"""


@dataclass(frozen=True)
class FileFormat:
    """The way files with one suffix are read.

    Attributes:
        read: yields the records of a file one after another. It raises a UserError that names file and line.
        typed: whether the format distinguishes numbers from text. Where it does not (csv, tsv), every label is read
            as text, and the labels become numbers if all labels of the task are written as numbers.
    """

    read: Callable[[Path], NumberedRecords]
    typed: bool = True


def _read_jsonl(path: Path) -> NumberedRecords:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line.decode("utf-8-sig"))  # -sig: some editors begin a file with a mark
            except (ValueError, RecursionError) as error:  # RecursionError: thousands of nested brackets
                raise UserError(f"{path}:{number} is not JSON: {error}") from error
            if not isinstance(record, dict):
                raise UserError(f"{path}:{number} is not a JSON object with a text and a label")
            yield number, record


def _read_csv(path: Path, *, delimiter: str = ",") -> NumberedRecords:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter, strict=True)
        try:
            for record in reader:
                if None in record:  # DictReader puts surplus fields under the key None
                    raise UserError(f"{path}:{reader.line_num} has more fields than the header")
                yield reader.line_num, record
        except (csv.Error, UnicodeDecodeError) as error:
            # line_num counts the lines that were read without an error, so the faulty one is the next.
            raise UserError(f"{path}:{reader.line_num + 1} is not CSV in UTF-8: {error}") from error


def _read_parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path, buffer_size=1 << 20) as file:  # else it reads whole columns at once
            for batch in file.iter_batches(batch_size=1000):
                for record in batch.to_pylist():
                    number += 1
                    yield number, record
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} is not a parquet file: {str(error).splitlines()[0]}") from error


FILE_FORMATS: dict[str, FileFormat] = {
    ".jsonl": FileFormat(_read_jsonl),
    ".csv": FileFormat(_read_csv, typed=False),
    ".tsv": FileFormat(partial(_read_csv, delimiter="\t"), typed=False),
    ".parquet": FileFormat(_read_parquet),
}
"""Suffix -> format. Other code that needs the suffixes (the digest of a folder, messages, `bench list`) reads this."""


def suffixes(between: str = "or") -> str:
    """Lists the suffixes as part of a sentence.

    >>> suffixes()
    '.jsonl, .csv, .tsv or .parquet'
    """
    *others, last = FILE_FORMATS
    return f"{', '.join(others)} {between} {last}"
