"""Rows out of records: which columns hold the texts and the label, and what makes a record no row.

Folders and single files are read here, data sets of the hub in `hub.py`. How a file becomes records is in `formats.py`.
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
from bench.sources.formats import FILE_FORMATS, Records
from bench.tasks import File, Folder, HubData, Row, Rows
from bench.tasks.table import gather, labels, take, with_labels

if TYPE_CHECKING:
    from bench.tasks.kinds import Label

Source = Folder | File | HubData
"""What has columns."""

TEXT_COLUMNS: tuple[tuple[str, str | None], ...] = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "passage"),
    ("sentence", None),
    ("text", None),
)
"""Usual names of the column of a text, or of the columns of a pair; the first that is there counts."""

LABEL_COLUMNS = ("label", "labels", "class", "category", "intent", "sentiment", "target", "score", "rating")
"""Usual names of the column of the label; the first that is there counts."""

SPLIT_COLUMN = "split"
"""The column in which a single file may say which part a row belongs to."""

_PARTS = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation"}
_PARTS |= {"test": "test"}
"""What stands in that column -> the part."""

TEST_SHARE = 0.2
MOST_TEST_ROWS = 2000
"""How many rows of a single file without a column `split` are held out: this share of them, and no more than this."""


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
        first, *others = FILE_FORMATS
        raise UserError(f"{path} has no {lacking}{first} (or {', '.join(others)})")
    if test is None:
        return read_files(folder, train=[train], dev=[], test=[validation])
    return read_files(folder, train=[train], dev=[validation], test=[test])


def read_file(source: File) -> Rows:
    """Reads a user's file, and takes its parts from its column `split`, or holds test rows out.

    Raises:
        UserError: what is missing or malformed, with file and line.
    """
    path = Path(source.path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if not has_split(path):
        rows = _converted(_gathered([path], source), typed=FILE_FORMATS[path.suffix].typed)
        train, test = hold_out(rows)
        return Rows(train=train, dev=None, test=test)
    present = {part for _, part, _ in _parts_of(path)}
    for part in ("train", *(() if present & {"test", "validation"} else ("test",))):
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
    """Line, part and record of each row of a file with a column `split`; read anew each time, to hold none of it."""
    for line, record in FILE_FORMATS[path.suffix].read(path):
        value = record.get(SPLIT_COLUMN)
        if value not in _PARTS:
            raise UserError(f"{path}:{line} has {value!r} in {SPLIT_COLUMN!r}: write train, validation or test there")
        yield line, _PARTS[value], record


def has_split(path: Path) -> bool:
    """Whether a file says in a column `split` which part each row belongs to."""
    first = next(iter(FILE_FORMATS[path.suffix].read(path)), None)
    return first is not None and SPLIT_COLUMN in first[1]


def hold_out(rows: Sequence[Row]) -> tuple[Sequence[Row], Sequence[Row]]:
    """Splits rows into those to learn from and those to test on, always in the same way.

    The texts with the smallest sha256 are held out, a fifth of the texts of each class, at most 2,000 in all; numbers
    to be predicted are one class here. So the order of the file does not matter, a row added later moves few others,
    and rows of equal texts, which would show memory and not learning, are on one side. A class with fewer than five
    texts is not tested.

    Returns:
        The rows to learn from and the rows to test on, each in the order of the file.

    >>> rows = [Row(f"text {number}", None, number % 2) for number in range(100)]
    >>> train, test = hold_out(rows)
    >>> len(train), len(test), sum(row.label for row in test)
    (80, 20, 10)
    """
    import numpy as np

    first_row: dict[bytes, int] = {}  # of each text, by its hash
    hashes = []
    for index, row in enumerate(rows):
        hashes.append(hashlib.sha256("\0".join((row.text, row.pair or "")).encode()).digest())
        first_row.setdefault(hashes[-1], index)
    classes: dict[Label, list[bytes]] = {}
    of_labels = list(labels(rows))
    for digest, index in first_row.items():
        label = of_labels[index]
        classes.setdefault("" if isinstance(label, float) else label, []).append(digest)
    share = min(TEST_SHARE, MOST_TEST_ROWS / max(1, len(first_row)))
    held = {digest for texts in classes.values() for digest in sorted(texts)[: int(share * len(texts))]}
    tested = np.array([digest in held for digest in hashes], dtype=bool)
    return take(rows, np.flatnonzero(~tested)), take(rows, np.flatnonzero(tested))


def columns_in_words(source: Folder | File) -> str | None:
    """Which columns of a user's files are read; None where they were named or have the most usual names.

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
    found = [path for suffix in FILE_FORMATS if (path := folder / f"{part}{suffix}").is_file()]
    if len(found) > 1:
        raise UserError(f"{folder} has both {found[0].name} and {found[1].name}: keep one")
    return found[0] if found else None


def read_files(source: Source, *, train: list[Path], dev: list[Path], test: list[Path]) -> Rows:
    """Reads the files of each part, in their order.

    Raises:
        UserError: names what is wrong, with file and line.
    """
    parts = [_gathered(files, source) for files in (train, dev, test)]
    if not any(FILE_FORMATS[path.suffix].typed for path in (*train, *dev, *test)):
        convert = _number_type(label for part in parts for label in labels(part))
        parts = [_relabelled(part, convert) for part in parts]
    return Rows(train=parts[0], dev=parts[1] or None, test=parts[2])


def _gathered(files: Iterable[Path], source: Source) -> Sequence[Row]:
    return gather(
        chain.from_iterable(rows_of(FILE_FORMATS[path.suffix].read(path), str(path), source) for path in files)
    )


def _converted(rows: Sequence[Row], *, typed: bool) -> Sequence[Row]:
    """The rows with numbers for labels where a file that knows no types writes all of them as numbers."""
    return rows if typed else _relabelled(rows, _number_type(labels(rows)))


def _relabelled(rows: Sequence[Row], convert: Callable[[Any], Any]) -> Sequence[Row]:
    return with_labels(rows, [convert(label) for label in labels(rows)])


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


def rows_of(records: Records, place: str, source: Source) -> Iterator[Row]:
    """Takes the texts and the label out of each record.

    Args:
        records: of one file or one split, with their numbers.
        place: what messages call the file or the split.
        source: names the columns, or leaves them to be found.

    Raises:
        UserError: a record is no row, or there is none.
    """
    columns: tuple[str, str | None] | None = None
    label = ""
    names: set[str] = set()
    for line, record in records:
        if columns is None:
            columns, label = _columns(place, list(record), source)
            names = set(record)
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
    """The columns of the first and the second text, and that of the label.

    A column is found by its name, or because it alone is left when the other one is known.

    Raises:
        UserError: there are none, or no column of labels.
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
