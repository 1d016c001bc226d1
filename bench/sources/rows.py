"""Rows out of records: which columns hold the texts and the label, and what makes a record no row.

Folders of files are read here, data sets of the hub in `hub.py`; what a file's records are says `formats.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.sources.formats import FORMATS, Records
from bench.tasks import Folder, HubData, Row, Rows
from bench.tasks.table import gather, labels, with_labels

TEXT_COLUMNS: tuple[tuple[str, str | None], ...] = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "passage"),
    ("sentence", None),
    ("text", None),
)


def read_folder(folder: Folder) -> Rows:
    """Reads a user's folder.

    Raises:
        UserError: what is missing or malformed, with file and line.
    """
    path = Path(folder.path)
    if not path.is_dir():
        raise UserError(f"{path}: no such folder")
    files = {part: _file(path, part) for part in ("train", "validation", "test")}
    train, validation, test = files.values()
    if train is None or validation is None:
        lacking = "train" if train is None else "validation"
        first, *others = FORMATS
        raise UserError(f"{path} has no {lacking}{first} (or {', '.join(others)})")
    if test is None:
        return read_files(folder, train=[train], dev=[], test=[validation])
    return read_files(folder, train=[train], dev=[validation], test=[test])


def _file(folder: Path, part: str) -> Path | None:
    found = [path for suffix in FORMATS if (path := folder / f"{part}{suffix}").is_file()]
    if len(found) > 1:
        raise UserError(f"{folder} has both {found[0].name} and {found[1].name}: keep one")
    return found[0] if found else None


def read_files(source: Folder | HubData, *, train: list[Path], dev: list[Path], test: list[Path]) -> Rows:
    """Reads the files of each part, in their order.

    Raises:
        UserError: names what is wrong, with file and line.
    """
    parts = [
        gather(chain.from_iterable(rows_of(FORMATS[path.suffix].read(path), str(path), source) for path in files))
        for files in (train, dev, test)
    ]
    if not any(FORMATS[path.suffix].typed for path in (*train, *dev, *test)):
        convert = _number_type(label for part in parts for label in labels(part))
        parts = [with_labels(part, [convert(label) for label in labels(part)]) for part in parts]
    return Rows(train=parts[0], dev=parts[1] or None, test=parts[2])


def _number_type(labels: Iterable[Any]) -> Callable[[Any], Any]:
    """Chooses int or float if every label is written as such, else str."""
    kinds = {_written(str(label)) for label in labels}
    if str in kinds:
        return str
    return float if float in kinds else int


def _written(label: str) -> type[int] | type[float] | type[str]:
    if re.fullmatch(r"[+-]?\d+", label):
        return int if len(label) < 19 else str  # longer ones are names: no float and no 64-bit number holds them
    return float if re.fullmatch(r"[+-]?(\d+\.\d*|\.?\d+)([eE][+-]?\d+)?", label) else str


def rows_of(records: Records, place: str, source: Folder | HubData) -> Iterator[Row]:
    """Takes the texts and the label out of each record.

    Args:
        records: of one file or one split, with their numbers.
        place: what messages call the file or the split.
        source: names the columns, or leaves them to be found.

    Raises:
        UserError: a record is no row, or there is none.
    """
    columns: tuple[str, str | None] | None = None
    names: set[str] = set()
    for line, record in records:
        if columns is None:
            columns, names = _columns(place, list(record), source), set(record)
        elif names != set(record) and (other := _text_columns(record, source)) not in (None, columns):
            raise UserError(
                f"{place}:{line} has {_text_words(other)}, the rows above have {_text_words(columns)}: "
                "give every row a pair of texts, or none"
            )
        text, pair = columns
        yield Row(
            _text(record, text, place, line),
            None if pair is None else _text(record, pair, place, line),
            _label(record, source.label, place, line),
        )
    if columns is None:
        raise UserError(f"{place} holds no rows")


def _columns(place: str, names: Sequence[str], source: Folder | HubData) -> tuple[str, str | None]:
    """The columns of the first and the second text.

    Raises:
        UserError: there are none, or no column of labels.
    """
    columns = _text_columns(names, source)
    if columns is None:
        raise UserError(f"{place} has the columns {', '.join(names)}: name the text's with text= (and pair=)")
    if source.label not in names:
        raise UserError(f"{place} has no column {source.label!r} among {', '.join(names)}: name it with label=")
    return columns


def _text_columns(names: Iterable[str], source: Folder | HubData) -> tuple[str, str | None] | None:
    """The first known columns of texts among the names; None where there are none."""
    known = TEXT_COLUMNS if source.text is None else ((source.text, source.pair),)
    return next((columns for columns in known if set(columns) <= {*names, None}), None)


def _text_words(columns: tuple[str, str | None] | None) -> str:
    text, pair = columns or (None, None)
    return f"one text in {text!r}" if pair is None else f"a pair of texts in {text!r} and {pair!r}"


def _text(record: dict[str, Any], column: str, place: str, line: int) -> str:
    value = record.get(column)
    if not isinstance(value, str):
        problem = "has no" if value is None else f"needs text, not {_kind_words(value)}, in"
        raise UserError(f"{place}:{line} {problem} {column!r}")
    if not value.isascii() and re.search("[\ud800-\udfff]", value):
        raise UserError(f"{place}:{line} has half a surrogate pair in {column!r}: it cannot be tokenized")
    return value


def _kind_words(value: object) -> str:
    """What a value of JSON or parquet is, in a word."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return f"a {type(value).__name__}"


def _label(record: dict[str, Any], column: str, place: str, line: int) -> int | float | str:
    value = record.get(column)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{place}:{line} has the label {value}: labels must be finite")
    if not isinstance(value, int | float | str) or value == "":
        raise UserError(f"{place}:{line} has no label in {column!r}: a number or a string is needed")
    return value
