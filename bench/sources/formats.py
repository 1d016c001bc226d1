"""The file formats that rows are read from. A new format is one function and one entry of `FILE_FORMATS`, at the end.

The readers of csv and jsonl are ours, not those of `datasets`, because a mistake in a file has to be named with its
line and nothing may be guessed: pandas and Arrow, which read these formats for `datasets`, make 1 of the label "01",
a missing value of the text "None", a date of a text that looks like one, and know no lines.
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

Records = Iterable[tuple[int, dict[str, Any]]]
"""Line (in a parquet file: row) number from 1, and the record that stands there: column -> value."""


@dataclass(frozen=True)
class FileFormat:
    """How files of one suffix are read.

    Attributes:
        read: yields the records of a file, one after another. It raises a UserError that names file and line.
        typed: whether a label is a number because the file says so. Otherwise every label comes as text, and is
            taken for a number if all labels of the task are written as numbers.
    """

    read: Callable[[Path], Records]
    typed: bool = True


def _read_jsonl(path: Path) -> Records:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line.decode("utf-8-sig"))
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}:{number} is not JSON: {error}") from error
            if not isinstance(record, dict):
                raise UserError(f"{path}:{number} is not a JSON object with a text and a label")
            yield number, record


def _read_csv(path: Path, *, delimiter: str = ",") -> Records:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter, strict=True)
        try:
            for record in reader:
                if None in record:
                    raise UserError(f"{path}:{reader.line_num} has more fields than the header")
                yield reader.line_num, record
        except (csv.Error, UnicodeDecodeError) as error:
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
"""By suffix. What else has to know the suffixes (a folder's digest, messages, `bench list`) reads them here."""


def suffixes(between: str = "or") -> str:
    """The suffixes in a sentence.

    >>> suffixes()
    '.jsonl, .csv, .tsv or .parquet'
    """
    *others, last = FILE_FORMATS
    return f"{', '.join(others)} {between} {last}"
