"""Turns records into rows: finds the columns of the texts and the label, and checks their values.

This module reads folders and single files; `hub.py` reads data sets of the hub. `formats.py` turns a file into records.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UserError
from bench.sources.formats import FILE_FORMATS, NumberedRecords
from bench.tasks import File, Folder, HubData, Row, Rows
from bench.tasks.table import gather, labels, take, with_labels

if TYPE_CHECKING:
    from bench.tasks.kinds import Label

Source = Folder | File | HubData
"""A source of rows whose columns can be named."""

TEXT_COLUMNS: tuple[tuple[str, str | None], ...] = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "passage"),
    ("sentence", None),
    ("text", None),
)
"""Usual names of the column of the text, or of the two columns of a pair. The first entry that a file has is used."""

LABEL_COLUMNS = ("label", "labels", "class", "category", "intent", "sentiment", "target", "score", "rating")
"""Usual names of the column of the label. The first one that a file has is used."""

SPLIT_COLUMN = "split"
"""The column that says which part a row of a single file belongs to; a file need not have it."""

_PARTS = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation"}
_PARTS |= {"test": "test"}
"""Value of that column -> part."""

TEST_SHARE = 0.2
"""The share of its texts that is held out for the test where a single file has no column `split`."""
MOST_TEST_ROWS = 2000
"""The largest number of texts that is held out."""


def read_folder(folder: Folder) -> Rows:
    """Reads a user's folder with the files `train` and `validation`, and perhaps `test`.

    Returns:
        The rows. With `test`, the validation rows are the dev rows; without it, they are the test rows, and dev rows
        are drawn from the training rows later.

    Raises:
        UserError: a file is missing or malformed; the message names file and line.
    """
    path = Path(folder.path)
    if not path.is_dir():
        raise UserError(f"{path}: no such folder")
    files = {part: _file(path, part) for part in ("train", "validation", "test")}
    train, validation, test = files.values()
    if train is None or validation is None:
        lacking = "train" if train is None else "validation"
        first, *others = FILE_FORMATS
        raise UserError(f"{path} has no {lacking}{first} (or {', '.join(others)})")
    if test is None:
        return read_files(folder, train=[train], dev=[], test=[validation])
    return read_files(folder, train=[train], dev=[validation], test=[test])


def read_file(source: File) -> Rows:
    """Reads a single file with all rows of a task.

    A column `split` says which part a row belongs to. Without that column, `hold_out` chooses the test rows.

    Raises:
        UserError: the file is missing or malformed, or a part has no rows; the message names file and line.
    """
    path = Path(source.path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if not has_split(path):
        rows = _converted(_gathered([path], source), typed=FILE_FORMATS[path.suffix].typed)
        train, test = hold_out(rows)
        return Rows(train=train, dev=None, test=test)
    # The file is read once to see which parts it has, and once more for each part, so that it is never held whole.
    present = {part for _, part, _ in _parts_of(path)}
    needed = ("train",) if present & {"test", "validation"} else ("train", "test")
    for part in needed:
        if part not in present:
            raise UserError(f"{path} has no row whose {SPLIT_COLUMN!r} is {part}")
    train, validation, test = (
        gather(rows_of(((line, record) for line, of, record in _parts_of(path) if of == part), str(path), source))
        if part in present
        else []
        for part in ("train", "validation", "test")
    )
    if not FILE_FORMATS[path.suffix].typed:
        convert = _number_type(chain(labels(train), labels(validation), labels(test)))
        train, validation, test = (_relabelled(part, convert) for part in (train, validation, test))
    return (
        Rows(train=train, dev=validation or None, test=test) if test else Rows(train=train, dev=None, test=validation)
    )


def _parts_of(path: Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yields line, part and record of each row of a file with a column `split`.

    Each call reads the file again, so that a large file never has to be held in memory as Python objects.
    """
    for line, record in FILE_FORMATS[path.suffix].read(path):
        value = record.get(SPLIT_COLUMN)
        if value not in _PARTS:
            raise UserError(f"{path}:{line} has {value!r} in {SPLIT_COLUMN!r}: write train, validation or test there")
        yield line, _PARTS[value], record


def has_split(path: Path) -> bool:
    """Tells whether a file has the column `split`, by its first record."""
    first = next(iter(FILE_FORMATS[path.suffix].read(path)), None)
    return first is not None and SPLIT_COLUMN in first[1]


def hold_out(rows: Sequence[Row]) -> tuple[Sequence[Row], Sequence[Row]]:
    """Splits rows into those to learn from and those to test on. The same rows are always split in the same way.

    The texts with the smallest sha256 are held out: a fifth of the texts of each class, at most 2,000 in all. Labels
    that are real numbers count as one class here. Choosing by hash has three effects: the order of the file does not
    matter, a row that is added later moves few others, and rows with equal texts are on one side (a model would
    remember those instead of having learned). A class with fewer than five texts has no test rows.

    Returns:
        The rows to learn from and the rows to test on, each in the order of the file.

    >>> rows = [Row(f"text {number}", None, number % 2) for number in range(100)]
    >>> train, test = hold_out(rows)
    >>> len(train), len(test), sum(row.label for row in test)
    (80, 20, 10)
    """
    import numpy as np

    first_row: dict[bytes, int] = {}  # hash of a text -> index of the first row with that text
    hashes = []
    for index, row in enumerate(rows):
        hashes.append(hashlib.sha256("\0".join((row.text, row.pair or "")).encode()).digest())
        first_row.setdefault(hashes[-1], index)
    classes: dict[Label, list[bytes]] = {}
    row_labels = list(labels(rows))
    for digest, index in first_row.items():
        label = row_labels[index]
        classes.setdefault("" if isinstance(label, float) else label, []).append(digest)
    # In a large file, the limit lowers the share of every class alike.
    share = min(TEST_SHARE, MOST_TEST_ROWS / max(1, len(first_row)))
    held = {digest for texts in classes.values() for digest in sorted(texts)[: int(share * len(texts))]}
    tested = np.array([digest in held for digest in hashes], dtype=bool)
    return take(rows, np.flatnonzero(~tested)), take(rows, np.flatnonzero(tested))


def columns_in_words(source: Folder | File) -> str | None:
    """Says which columns of a user's files are read, such as `the text is in the column 'body', the label in 'folder'`.

    Returns:
        The sentence; None if the user named the columns, or if they have the most usual names.

    Raises:
        UserError: a file is malformed.
    """
    path = Path(source.path)
    file = path if isinstance(source, File) else _file(path, "train")
    if file is None:
        return None
    first = next(iter(FILE_FORMATS[file.suffix].read(file)), None)
    if first is None:
        return None
    (text, pair), label = _columns(str(file), list(first[1]), source)
    if (source.text is not None or (text, pair) in TEXT_COLUMNS) and label in (source.label, "label"):
        return None
    texts = repr(text) if pair is None else f"{text!r} and {pair!r}"
    return f"the text is in the column {texts}, the label in {label!r}"


def _file(folder: Path, part: str) -> Path | None:
    files = [path for suffix in FILE_FORMATS if (path := folder / f"{part}{suffix}").is_file()]
    if len(files) > 1:
        raise UserError(f"{folder} has both {files[0].name} and {files[1].name}: keep one")
    return files[0] if files else None


def read_files(source: Source, *, train: list[Path], dev: list[Path], test: list[Path]) -> Rows:
    """Reads the rows of each part from its files, in the order of the files.

    Args:
        source: names the columns, or leaves them to be found.
        train: the files of the training rows.
        dev: the files of the dev rows; empty: they are drawn from the training rows later.
        test: the files of the test rows.

    Raises:
        UserError: a file is malformed; the message names file and line.
    """
    parts = [_gathered(files, source) for files in (train, dev, test)]
    if not any(FILE_FORMATS[path.suffix].typed for path in (*train, *dev, *test)):
        # One type for all parts: a part whose labels all look whole must not become integers on its own.
        convert = _number_type(label for part in parts for label in labels(part))
        parts = [_relabelled(part, convert) for part in parts]
    return Rows(train=parts[0], dev=parts[1] or None, test=parts[2])


def _gathered(files: Iterable[Path], source: Source) -> Sequence[Row]:
    return gather(
        chain.from_iterable(rows_of(FILE_FORMATS[path.suffix].read(path), str(path), source) for path in files)
    )


def _converted(rows: Sequence[Row], *, typed: bool) -> Sequence[Row]:
    """Turns labels that were read from an untyped file into numbers, if all of them are written as numbers."""
    return rows if typed else _relabelled(rows, _number_type(labels(rows)))


def _relabelled(rows: Sequence[Row], convert: Callable[[Any], Any]) -> Sequence[Row]:
    return with_labels(rows, [convert(label) for label in labels(rows)])


def _number_type(labels: Iterable[Any]) -> Callable[[Any], Any]:
    """Chooses the type of the labels: int or float if every label is written as such, else str."""
    types = {_type_as_written(str(label)) for label in labels}
    if str in types:
        return str
    return float if float in types else int


def _type_as_written(label: str) -> type[int] | type[float] | type[str]:
    if re.fullmatch(r"[+-]?\d+", label):
        return int if len(label) < 19 else str  # a longer number does not fit into 64 bits: it is a name
    return float if re.fullmatch(r"[+-]?(\d+\.\d*|\.?\d+)([eE][+-]?\d+)?", label) else str


def rows_of(records: NumberedRecords, place: str, source: Source) -> Iterator[Row]:
    """Makes a row of each record. The columns are chosen once, by the first record.

    Args:
        records: the records of one file or one split, each with the number of its line.
        place: the name of the file or the split in messages.
        source: names the columns, or leaves them to be found.

    Raises:
        UserError: a record lacks a text or a label, or there are no records.
    """
    columns: tuple[str, str | None] | None = None
    label = ""
    names: set[str] = set()
    for line, record in records:
        if columns is None:  # the first record
            columns, label = _columns(place, list(record), source)
            names = set(record)
        # NumberedRecords of jsonl may have different columns. Pairs among single texts would be scored as another task.
        elif names != set(record) and (other := _text_columns(record, source)) not in (None, columns):
            raise UserError(
                f"{place}:{line} has {_text_words(other)}, the rows above have {_text_words(columns)}: "
                "give every row a pair of texts, or none"
            )
        text, pair = columns
        yield Row(
            _text(record, text, place, line),
            None if pair is None else _text(record, pair, place, line),
            _label(record, label, place, line),
        )
    if columns is None:
        raise UserError(f"{place} holds no rows")


def _columns(place: str, names: Sequence[str], source: Source) -> tuple[tuple[str, str | None], str]:
    """Chooses the columns of the texts (the second is None without pairs), and the column of the label.

    A column is chosen because the user named it, or by its usual name, or because it is the only one that is left
    once the other is chosen.

    Raises:
        UserError: the columns of the texts or of the label cannot be told; the message says how to name them.
    """
    columns = _text_columns(names, source)
    label = next((name for name in LABEL_COLUMNS if name in names), None) if source.label is None else source.label
    left = [name for name in names if name not in (*(columns or ()), label, SPLIT_COLUMN)]
    if columns is None and source.text is None and label in names and len(left) == 1:
        columns = (left[0], None)
    elif label is None and columns is not None and len(left) == 1:
        label = left[0]
    example = f'as in --task "{place if isinstance(source, File) else "NAME"}[text=COLUMN,label=COLUMN]"'
    if columns is None:
        raise UserError(
            f"{place} has the columns {', '.join(names)}: name the text's with text= (and pair=), {example}"
        )
    if label is None or label not in names:
        lacking = "label" if label is None else label
        raise UserError(f"{place} has no column {lacking!r} among {', '.join(names)}: name it with label=, {example}")
    return columns, label


def _text_columns(names: Iterable[str], source: Source) -> tuple[str, str | None] | None:
    """Returns the first entry of `TEXT_COLUMNS`, or the columns that the user named, if all are among the names."""
    candidates = TEXT_COLUMNS if source.text is None else ((source.text, source.pair),)
    return next((columns for columns in candidates if set(columns) <= {*names, None}), None)


def _text_words(columns: tuple[str, str | None] | None) -> str:
    text, pair = columns or (None, None)
    return f"one text in {text!r}" if pair is None else f"a pair of texts in {text!r} and {pair!r}"


def _text(record: dict[str, Any], column: str, place: str, line: int) -> str:
    value = record.get(column)
    if not isinstance(value, str):
        problem = "has no" if value is None else f"needs text, not {_kind_words(value)}, in"
        raise UserError(f"{place}:{line} {problem} {column!r}")
    # JSON may hold one half of a pair of UTF-16 code units, which no tokenizer can encode.
    if not value.isascii() and re.search("[\ud800-\udfff]", value):
        raise UserError(f"{place}:{line} has half a surrogate pair in {column!r}: it cannot be tokenized")
    return value


def _kind_words(value: object) -> str:
    """Names the type of a value of JSON or parquet, for a message."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return f"a {type(value).__name__}"


def _label(record: dict[str, Any], column: str, place: str, line: int) -> int | float | str:
    value = record.get(column)
    if isinstance(value, bool):  # true and false of JSON are two classes
        return int(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{place}:{line} has the label {value}: labels must be finite")
    if not isinstance(value, int | float | str) or value == "":
        raise UserError(f"{place}:{line} has no label in {column!r}: a number or a string is needed")
    return value
