"""Local folders and hub files in every form, and every way in which they can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from bench.errors import UserError
from bench.sources.formats import FILE_FORMATS
from bench.sources.rows import TEXT_COLUMNS, read_folder
from bench.tasks import Folder, Row, table

GOOD = [{"sentence": "one", "label": 0, "idx": 0}, {"sentence": "two", "label": 1, "idx": 1}]


def write_jsonl(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in ("train", "validation"):
        write_jsonl(tmp_path / f"{part}.jsonl", GOOD)
    return tmp_path


def test_validation_is_scored_on_unless_there_is_a_test_file(folder: Path) -> None:
    rows = read_folder(Folder(folder))
    assert rows.train == rows.test == [Row("one", None, 0), Row("two", None, 1)]
    assert rows.dev is None
    write_jsonl(folder / "test.jsonl", GOOD[:1])
    rows = read_folder(Folder(str(folder)))
    assert rows.test == [Row("one", None, 0)]
    assert rows.dev == rows.train


@pytest.mark.parametrize(("text", "pair"), TEXT_COLUMNS)
def test_columns_of_the_hubs_glue_are_found(folder: Path, text: str, pair: str | None) -> None:
    record = {"idx": 3, text: "a", **({pair: "b"} if pair else {}), "label": 1}
    for part in ("train", "validation"):
        write_jsonl(folder / f"{part}.jsonl", [record])
    assert read_folder(Folder(folder)).test == [Row("a", "b" if pair else None, 1)]


def test_columns_can_be_named(folder: Path) -> None:
    for part in ("train", "validation"):
        write_jsonl(folder / f"{part}.jsonl", [{"sentence": "no", "q": "a", "r": "b", "gold": "yes"}])
    rows = read_folder(Folder(folder, text="q", pair="r", label="gold"))
    assert rows.train == [Row("a", "b", "yes")]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["0", "1"], [0, 1]),
        (["1.5", "2"], [1.5, 2.0]),
        (["1e-3", "-2"], [0.001, -2.0]),
        (["01", "yes"], ["01", "yes"]),
        (["nan", "1"], ["nan", "1"]),
    ],
)
def test_csv_labels_are_numbers_if_all_are_written_so(tmp_path: Path, written: list[str], read: list[Any]) -> None:
    (tmp_path / "train.csv").write_text(f'text,label\n"a, b",{written[0]}\n', "utf-8-sig")
    (tmp_path / "validation.csv").write_text(f'text,label\n"two\nlines",{written[1]}\n', "utf-8")
    rows = read_folder(Folder(tmp_path))
    assert [*rows.train, *rows.test] == [Row("a, b", None, read[0]), Row("two\nlines", None, read[1])]


def test_tsv_is_csv_with_tabs(tmp_path: Path) -> None:
    for part in ("train", "validation"):
        (tmp_path / f"{part}.tsv").write_text('text\tlabel\n"a\tb"\t1\nc, d\t0.5\n')
    assert read_folder(Folder(tmp_path)).train == [Row("a\tb", None, 1.0), Row("c, d", None, 0.5)]
    (tmp_path / "train.tsv").write_text("text\tlabel\na\t1\t2\n")
    with pytest.raises(UserError, match=r"train.tsv:2 has more fields than the header"):
        read_folder(Folder(tmp_path))


@pytest.mark.parametrize("suffix", FILE_FORMATS)
def test_many_rows_of_any_format_lie_in_arrow(suffix: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "BATCH", 3)
    expected = [Row(f"text {n}", None, n / 2) for n in range(10)]
    (folder / "train.jsonl").unlink()
    path = folder / f"train{suffix}"
    if suffix == ".parquet":
        write_parquet(path, {"text": [row.text for row in expected], "label": [row.label for row in expected]})
    elif suffix == ".jsonl":
        write_jsonl(path, [{"text": row.text, "label": row.label} for row in expected])
    else:
        tab = {".csv": ",", ".tsv": "\t"}[suffix]
        path.write_text(f"text{tab}label\n" + "".join(f"{row.text}{tab}{row.label}\n" for row in expected))
        (folder / "validation.jsonl").unlink()
        (folder / f"validation{suffix}").write_text(f"text{tab}label\na{tab}1\n")
    rows = read_folder(Folder(folder))
    assert isinstance(rows.train, table.ArrowRows)
    assert rows.train == expected


def write_parquet(path: Path, columns: dict[str, list[Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def test_parquet_and_jsonl_may_stand_together(folder: Path) -> None:
    (folder / "train.jsonl").unlink()
    write_parquet(folder / "train.parquet", {"sentence": ["x"], "label": [True]})
    assert read_folder(Folder(folder)).train == [Row("x", None, 1)]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("train.jsonl", '{"sentence": "a", "label": 1}\n\n{"sentence"\n', "train.jsonl:3 is not JSON"),
        ("train.jsonl", "[1]\n", "train.jsonl:1 is not a JSON object"),
        ("train.jsonl", "[" * 100_000, "train.jsonl:1 is not JSON"),
        ("train.jsonl", "\n \n", "train.jsonl holds no rows"),
        (
            "train.jsonl",
            '{"sentence": "a", "label": 1}\n{"sentence": "b"}',
            "train.jsonl:2 has no label in 'label'",
        ),
        ("train.jsonl", '{"sentence": "a", "label": [1]}', "train.jsonl:1 has no label"),
        ("train.jsonl", '{"sentence": "a", "label": NaN}', "train.jsonl:1 has the label nan"),
        ("train.jsonl", '{"sentence": "a", "label": 1}\n{"label": 1}', "train.jsonl:2 has no 'sentence'"),
        (
            "train.jsonl",
            '{"sentence": 5, "label": 1}',
            "train.jsonl:1 needs text, not a number, in 'sentence'",
        ),
        ("train.jsonl", r'{"sentence": "\ud800", "label": 1}', "train.jsonl:1 has half a surrogate pair"),
        (
            "train.jsonl",
            '{"id": 7, "body": "a", "label": 1}',
            "has the columns id, body, label: name the text's with text=",
        ),
        ("train.jsonl", '{"id": 7, "text": "a", "gold": 1}', "has no column 'label' among id, text, gold"),
        ("train.csv", "text,label\na,1\nb,2,3\n", "train.csv:3 has more fields than the header"),
        ("train.csv", 'text,label\na,1\n"b,2\n', "train.csv:3 is not CSV"),
        ("train.csv", "text,label\n", "train.csv holds no rows"),
        ("train.parquet", "no", "train.parquet is not a parquet file"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(folder: Path, name: str, content: str, complaint: str) -> None:
    (folder / "train.jsonl").unlink()
    (folder / name).write_text(content, "utf-8")
    with pytest.raises(UserError) as raised:
        read_folder(Folder(folder))
    assert complaint in str(raised.value)
    assert str(folder) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_latin_1_is_refused_with_its_line(folder: Path) -> None:
    (folder / "train.jsonl").write_bytes(b'{"sentence": "a", "label": 1}\n{"sentence": "\xe9", "label": 1}\n')
    with pytest.raises(UserError, match=r"train.jsonl:2 is not JSON: .*utf-8"):
        read_folder(Folder(folder))
    (folder / "train.jsonl").rename(folder / "train.txt")
    (folder / "train.csv").write_bytes(b"text,label\ncaf\xe9,1\n")
    with pytest.raises(UserError, match=r"train.csv:\d is not CSV in UTF-8"):
        read_folder(Folder(folder))


def test_missing_and_double_files_are_refused(folder: Path) -> None:
    (folder / "train.csv").write_text("text,label\na,1\n")
    with pytest.raises(UserError, match=r"both train.jsonl and train.csv: keep one"):
        read_folder(Folder(folder))
    (folder / "train.csv").unlink()
    (folder / "validation.jsonl").unlink()
    with pytest.raises(UserError, match=r"has no validation.jsonl"):
        read_folder(Folder(folder))
    with pytest.raises(UserError, match="no such folder"):
        read_folder(Folder(folder / "nowhere"))
