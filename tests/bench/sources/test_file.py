"""A single file as a task: columns found or named, parts named in it or held out."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UserError
from bench.registry.tasks import resolve_task
from bench.sources.rows import MOST_TEST_ROWS, columns_in_words, hold_out, read_file
from bench.sources.split import load_rows, remarks
from bench.tasks import File, Row


def write(path: Path, header: list[str], rows: list[list[object]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",").writerows([header, *rows])
    return path


@pytest.mark.parametrize("header", [["utterance", "category"], ["category", "utterance"], ["text", "topic"]])
def test_columns_are_found_by_name_or_because_one_is_left(tmp_path: Path, header: list[str]) -> None:
    texts = header.index("utterance" if "utterance" in header else "text")
    rows = [[f"text {n}", f"class {n % 2}"][:: 1 if texts == 0 else -1] for n in range(20)]
    resolved = resolve_task(str(write(tmp_path / "mood.tsv", header, rows)))
    loaded = load_rows(resolved.task)
    assert (resolved.spec.label, resolved.spec.source) == ("mood", "file")
    assert (len(loaded.train), loaded.dev, len(loaded.test)) == (16, None, 4)
    assert Counter(row.label for row in loaded.test) == {"class 0": 2, "class 1": 2}
    words, held, kind = remarks(loaded, resolved.task)
    assert f"the text is in the column {header[texts]!r}, the label in {header[1 - texts]!r}" in words
    assert "4 rows are held out for the test, 16 are left" in held
    assert "2 classes" in kind


def test_what_cannot_be_found_has_to_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ["id", "said", "mood"], [[n, f"text {n}", n % 2] for n in range(10)])
    with pytest.raises(UserError, match=r'columns id, said, mood: name .* as in --task ".*a.csv\[text=COLUMN,label='):
        read_file(File(path))
    with pytest.raises(UserError, match=r"no column 'label' among id, said, mood: name it with label="):
        read_file(File(path, text="said"))
    named = File(path, text="said", label="mood")
    assert columns_in_words(named) is None
    assert {row.label for row in read_file(named).train} == {0, 1}


def test_the_revision_is_that_of_the_content(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ["text", "label"], [["x", 1]])
    before = resolve_task(str(path)).spec.revision
    write(path, ["text", "label"], [["x", 0]])
    assert before.startswith("sha256:")
    assert resolve_task(str(path)).spec.revision != before


def test_a_column_split_says_which_part_a_row_belongs_to(tmp_path: Path) -> None:
    parts = ["train", "dev", "test", "train"]
    rows = [[f"text {n}", f"0.{n}", part] for n, part in enumerate(parts)]
    path = write(tmp_path / "a.csv", ["text", "label", "split"], rows)
    read = read_file(File(path))
    assert read.train == [Row("text 0", None, 0.0), Row("text 3", None, 0.3)]
    assert (read.dev, read.test) == ([Row("text 1", None, 0.1)], [Row("text 2", None, 0.2)])
    write(path, ["text", "label", "split"], [row for row in rows if row[2] != "test"])
    read = read_file(File(path))  # as in a folder: validation is scored, dev rows come from train
    assert (read.dev, read.test) == (None, [Row("text 1", None, 0.1)])
    write(path, ["text", "label", "split"], rows[:1])
    with pytest.raises(UserError, match="no row whose 'split' is test"):
        read_file(File(path))
    write(path, ["text", "label", "split"], [["x", 1, "training"]])
    with pytest.raises(UserError, match=r"a\.csv:2 has 'training' in 'split': write train, validation or test"):
        read_file(File(path))


ROWS = st.lists(st.builds(Row, st.text("abc", max_size=3), st.none(), st.sampled_from("xyz")), max_size=60)


@given(ROWS)
def test_held_out_rows_depend_on_no_order_and_share_no_text_with_the_others(rows: list[Row]) -> None:
    train, test = hold_out(rows)
    assert Counter([*train, *test]) == Counter(rows)
    assert not {row.text for row in train} & {row.text for row in test}
    assert len({row.text for row in test}) <= 0.2 * len({row.text for row in rows})
    first = {row.text: row for row in reversed(rows)}  # a text with two labels counts for the first
    shuffled = sorted(first.values(), key=lambda row: row.text, reverse=True)
    again = hold_out(shuffled)[1]
    assert {row.text for row in again} == {row.text for row in test}


def test_at_most_so_many_rows_are_held_out() -> None:
    train, test = hold_out([Row(str(n), None, n % 7) for n in range(20 * MOST_TEST_ROWS)])
    assert MOST_TEST_ROWS - 7 <= len(test) <= MOST_TEST_ROWS
    assert len(train) == 20 * MOST_TEST_ROWS - len(test)


@pytest.mark.parametrize(
    ("name", "message"),
    [("rows.xlsx", r"a file of rows ends with \.jsonl"), ("nothing.csv", "no such folder or file")],
)
def test_no_file_of_rows(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "rows.xlsx").touch()
    with pytest.raises(UserError, match=message):
        resolve_task(str(tmp_path / name))
