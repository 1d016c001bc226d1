"""Rows out of files: .jsonl, .csv and .parquet, in the column names of the hub's GLUE or the user's."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.tasks import Folder, HubData, Row, Rows

Records = Iterable[tuple[int, dict[str, Any]]]
"""Line (in a parquet file: row) number from 1, and the record found there."""

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
        raise UserError(f"{path} has no {lacking}.jsonl (or .csv, .parquet)")
    if test is None:
        return _rows(folder, train=[train], dev=[], test=[validation])
    return _rows(folder, train=[train], dev=[validation], test=[test])


def read_hub(data: HubData, *, reachable: bool) -> Rows:
    """Reads the parquet files of a data set of the hub; no code of the repository is run.

    Args:
        data: which one.
        reachable: whether the hub is; without it, only what its cache holds is read.

    Raises:
        UserError: it is neither there nor in the hub's cache, or holds no such split.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    prefix = f"{data.config}/" if data.config else ""
    wanted = {part: f"{prefix}{part}-*.parquet" for part in (data.train, data.test)}
    name = f"{data.repo}/{data.config}" if data.config else data.repo
    try:
        folder = snapshot_download(
            data.repo,
            repo_type="dataset",
            revision=data.revision,
            allow_patterns=list(wanted.values()),
            local_files_only=not reachable,
        )
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"{name} is not in the cache of the Hugging Face hub, which is out of reach: connect once, "
            "or use a local folder or a task of the package index (bench list tasks)"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{name} at revision {data.revision} cannot be had from the hub: {reason}") from error
    files = {part: sorted(Path(folder).glob(pattern)) for part, pattern in wanted.items()}
    if absent := [part for part, found in files.items() if not found]:
        remedy = "check the name of the split" if reachable else "connect once to fetch it"
        raise UserError(f"{name} has no {prefix}{absent[0]}-*.parquet here: {remedy}")
    return _rows(data, train=files[data.train], dev=[], test=files[data.test])


def _file(folder: Path, part: str) -> Path | None:
    found = [path for suffix in READERS if (path := folder / f"{part}{suffix}").is_file()]
    if len(found) > 1:
        raise UserError(f"{folder} has both {found[0].name} and {found[1].name}: keep one")
    return found[0] if found else None


def _rows(source: Folder | HubData, *, train: list[Path], dev: list[Path], test: list[Path]) -> Rows:
    parts = [list(chain.from_iterable(_read(path, source) for path in files)) for files in (train, dev, test)]
    csv_alone = all(path.suffix == ".csv" for path in (*train, *dev, *test))
    if csv_alone:  # the only format whose labels come as text
        convert = _number_type(row.label for row in chain(*parts))
        parts = [[row._replace(label=convert(row.label)) for row in rows] for rows in parts]
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


def _read(path: Path, source: Folder | HubData) -> Iterator[Row]:
    columns: tuple[str, str | None] | None = None
    names: set[str] = set()
    for line, record in READERS[path.suffix](path):
        if columns is None:
            columns, names = _columns(path, list(record), source), set(record)
        elif names != set(record) and (other := _text_columns(record, source)) not in (None, columns):
            raise UserError(
                f"{path}:{line} has {_text_words(other)}, the rows above have {_text_words(columns)}: "
                "give every row a pair of texts, or none"
            )
        text, pair = columns
        yield Row(
            _text(record, text, path, line),
            None if pair is None else _text(record, pair, path, line),
            _label(record, source.label, path, line),
        )
    if columns is None:
        raise UserError(f"{path} holds no rows")


def _columns(path: Path, names: Sequence[str], source: Folder | HubData) -> tuple[str, str | None]:
    """The columns of the first and the second text.

    Raises:
        UserError: there are none, or no column of labels.
    """
    columns = _text_columns(names, source)
    if columns is None:
        raise UserError(f"{path} has the columns {', '.join(names)}: name the text's with text= (and pair=)")
    if source.label not in names:
        raise UserError(f"{path} has no column {source.label!r} among {', '.join(names)}: name it with label=")
    return columns


def _text_columns(names: Iterable[str], source: Folder | HubData) -> tuple[str, str | None] | None:
    """The first known columns of texts among the names; None where there are none."""
    known = TEXT_COLUMNS if source.text is None else ((source.text, source.pair),)
    return next((columns for columns in known if set(columns) <= {*names, None}), None)


def _text_words(columns: tuple[str, str | None] | None) -> str:
    text, pair = columns or (None, None)
    return f"one text in {text!r}" if pair is None else f"a pair of texts in {text!r} and {pair!r}"


def _text(record: dict[str, Any], column: str, path: Path, line: int) -> str:
    value = record.get(column)
    if not isinstance(value, str):
        problem = "has no" if value is None else f"needs text, not {_kind_words(value)}, in"
        raise UserError(f"{path}:{line} {problem} {column!r}")
    if not value.isascii() and re.search("[\ud800-\udfff]", value):
        raise UserError(f"{path}:{line} has half a surrogate pair in {column!r}: it cannot be tokenized")
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


def _label(record: dict[str, Any], column: str, path: Path, line: int) -> int | float | str:
    value = record.get(column)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{path}:{line} has the label {value}: labels must be finite")
    if not isinstance(value, int | float | str) or value == "":
        raise UserError(f"{path}:{line} has no label in {column!r}: a number or a string is needed")
    return value


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


def _read_csv(path: Path) -> Records:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for record in reader:
                if None in record:
                    raise UserError(f"{path}:{reader.line_num} has more fields than the header")
                yield reader.line_num, record
        except (csv.Error, UnicodeDecodeError) as error:
            raise UserError(f"{path}:{reader.line_num + 1} is not CSV in UTF-8: {error}") from error


def _read_parquet(path: Path) -> Records:
    import pyarrow
    import pyarrow.parquet

    try:
        records = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path} is not a parquet file: {str(error).splitlines()[0]}") from error
    return enumerate(records, start=1)


READERS: dict[str, Callable[[Path], Records]] = {
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
