"""Laws of the split, the rows that are refused, and label types."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UserError
from bench.sources.split import Split, count_repeated, load_rows, remarks, split
from bench.tasks import Folder, HubData, Row, Rows, Task, Wheel


def made(train: int, *, dev: int | None = None, test: int = 4) -> Rows:
    def rows(part: str, count: int) -> list[Row]:
        return [Row(f"{part} {index}", None, index % 2) for index in range(count)]

    return Rows(rows("train", train), None if dev is None else rows("dev", dev), rows("test", test))


def texts(part: list[Any]) -> list[str]:
    return [example.text for example in part]


@given(st.integers(4, 60), st.data(), st.integers(0, 40), st.integers(0, 2**32))
def test_laws_of_the_split(total: int, data: st.DataObject, dev: int, seed: int) -> None:
    k = data.draw(st.integers(1, total - 1))
    rows = made(total)
    one = split(rows, k=k, dev=dev, seed=seed)
    train, held = set(texts(one.train)), set(texts(one.dev))
    assert len(one.train) == len(train) == k
    assert len(one.dev) == len(held) == min(dev, total - k)
    assert not train & held
    assert train | held <= set(texts(rows.train))
    assert texts(one.test) == texts(rows.test)
    assert split(rows, k=k, dev=dev, seed=seed) == one
    larger = split(rows, k=k + 1, dev=0, seed=seed)
    assert texts(larger.train)[:k] == texts(one.train)


@given(st.integers(4, 60), st.integers(0, 40))
def test_all_leaves_at_most_a_tenth_to_dev(total: int, dev: int) -> None:
    one = split(made(total), k=None, dev=dev, seed=1)
    assert len(one.dev) == min(dev, max(1, total // 10))
    assert set(texts(one.train)) | set(texts(one.dev)) == set(texts(made(total).train))
    assert len(one.train) + len(one.dev) == total


def test_a_tasks_own_dev_rows_are_used_where_it_has_some() -> None:
    one = split(made(10, dev=7), k=None, dev=5, seed=0)
    assert len(one.train) == 10
    assert len(one.dev) == 5
    assert all(text.startswith("dev") for text in texts(one.dev))
    assert len(split(made(10, dev=7), k=10, dev=100, seed=0).dev) == 7


def test_seeds_differ_and_the_draw_is_for_good() -> None:
    drawn = [texts(split(made(100), k=5, dev=0, seed=seed).train) for seed in range(20)]
    assert len({tuple(sorted(one)) for one in drawn}) == 20
    # Pinned: numpy promises the raw numbers of a bit generator for good.
    assert drawn[0] == ["train 11", "train 92", "train 3", "train 20", "train 13"]


def test_the_digest_is_of_the_rows_used() -> None:
    def digest(rows: Rows, **changed: int) -> str:
        return split(rows, **{"k": 5, "dev": 3, "seed": 0, **changed}).digest

    rows = made(20)
    assert digest(rows) == digest(made(20))
    assert len({digest(rows), digest(rows, k=6), digest(rows, dev=2), digest(rows, seed=1)}) == 4
    assert digest(Rows(rows.train, None, rows.test[:3])) != digest(rows)
    relabelled = [row._replace(label=1 - int(row.label)) for row in rows.test]
    assert digest(Rows(rows.train, None, relabelled)) != digest(rows)


@pytest.mark.parametrize(
    ("k", "complaint"), [(21, "there are 20"), (0, "k=0"), (-1, "k=-1"), (20, "no training row for dev")]
)
def test_a_k_that_does_not_fit_is_refused(k: int, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        split(made(20), k=k, dev=3, seed=0)


def test_labels_become_indices_in_their_own_order() -> None:
    rows = Rows([Row("a", None, 10), Row("b", None, 9)], None, [Row("c", None, 10)])
    one = split(rows, k=2, dev=0, seed=0)
    assert one.labels == ["9", "10"]
    assert [example.label for example in one.test] == [1]
    assert (one.kind.name, one.outputs) == ("classes", 2)
    named = split(
        Rows([Row("a", None, "spam"), Row("b", None, "ham")], None, [Row("c", None, "spam")]),
        k=1,
        dev=0,
        seed=0,
    )
    assert named.labels == ["ham", "spam"]
    assert [example.label for example in named.test] == [1]


def write(folder: Path, **parts: list[Any]) -> Folder:
    for part, labels in parts.items():
        records = [{"text": f"{part} {index}", "label": label} for index, label in enumerate(labels)]
        (folder / f"{part}.jsonl").write_text("\n".join(map(json.dumps, records)))
    return Folder(folder)


@pytest.mark.parametrize(
    ("train", "validation", "kind", "expected"),
    [
        ([0, 1], [1], None, ["0", "1"]),
        (["no", "yes"], ["no"], None, ["no", "yes"]),
        ([0.5, 1.0], [2.0], None, None),
        ([0, 1], [2.5], None, None),
        ([1, 2], [3], "regression", None),
        ([0.0, 1.0], [1.0], "classes", ["0", "1"]),
        ([True, False], [True], None, ["0", "1"]),
    ],
)
def test_the_kind_is_found_in_the_labels_or_given(
    tmp_path: Path, train: list[Any], validation: list[Any], kind: str | None, expected: list[str] | None
) -> None:
    task = Task("mine", write(tmp_path, train=train, validation=validation), kind=kind)
    one: Split = split(load_rows(task), k=2, dev=0, seed=0)
    assert one.labels == expected
    assert all(isinstance(example.label, float if expected is None else int) for example in one.train + one.test)
    if expected is None:
        assert [example.label for example in one.test] == [float(label) for label in validation]
        assert (one.kind.name, one.outputs) == ("regression", 1)


@pytest.mark.parametrize(
    ("parts", "kind", "complaint"),
    [
        ({"train": [1, 1], "validation": [1]}, None, "task mine has one label only, 1,"),
        ({"train": [0, 1], "validation": [2, 1]}, None, "test rows have labels unseen in training, 2$"),
        (
            {"train": [0, 1], "validation": [2], "test": [1]},
            None,
            "dev rows have labels unseen in training, 2$",
        ),
        ({"train": [0, 1], "validation": [0], "test": [-1]}, None, "-1: its labels are hidden"),
        ({"train": [0, "x"], "validation": [0]}, None, "some labels are numbers and some are strings"),
        (
            {"train": ["a", "b"], "validation": ["a"]},
            "regression",
            "labels are strings, a regression needs numbers",
        ),
        ({"train": [0.5, 1.0], "validation": [1.0]}, "classes", "label 0.5 is not the number of a class"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(
    tmp_path: Path, parts: dict[str, list[Any]], kind: str | None, complaint: str
) -> None:
    with pytest.raises(UserError, match=complaint):
        load_rows(Task("mine", write(tmp_path, **parts), kind=kind))


def test_a_reader_of_the_users_own_is_used_and_its_errors_named(tmp_path: Path) -> None:
    task = Task("mine", Folder(tmp_path), read=lambda folder: made(4))
    assert load_rows(task) == made(4)

    def fails(folder: Path) -> Rows:
        return Rows([], None, [Row(str(float("rubbish")), None, 0)])

    with pytest.raises(UserError, match="task mine cannot be read: ValueError: could not convert"):
        load_rows(Task("mine", Folder(tmp_path), read=fails))
    with pytest.raises(UserError, match="task mine has no training rows"):
        load_rows(Task("mine", Folder(tmp_path), read=lambda folder: made(0)))
    with pytest.raises(UserError, match="needs a `read` function"):
        load_rows(Task("mine", Wheel("p", "1", "p.whl", "0", 1, "p")))


def test_hub_data_asks_first_whether_the_hub_is_in_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.sources.split.hub_in_reach", lambda: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="out of reach"):
        load_rows(Task("mine", HubData("some/data", None, "abc")))


def user_task(folder: Path, train: list[tuple[str, Any]], test: list[tuple[str, Any]]) -> Task:
    for part, found in (("train", train), ("validation", test)):
        lines = [json.dumps({"text": text, "label": label}) for text, label in found]
        (folder / f"{part}.jsonl").write_text("\n".join(lines))
    return Task(name="mine", source=Folder(folder))


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["a", "b", "c"], "labels read as 3 classes"),
        ([0, 1], "labels read as 2 classes"),
        (range(30), "labels read as 30 classes; so many whole numbers may be amounts"),
        ([f"c{n}" for n in range(30)], "labels read as 30 classes"),
        ([0.25, 0.5, 1], "labels read as numbers (a regression), because some have a decimal point"),
        ([1.0, 2.0], "because some have a decimal point; only 2 whole values: write them without a point"),
    ],
    ids=str,
)
def test_how_labels_were_read_is_said(labels: Any, said: str, tmp_path: Path) -> None:
    train = [(f"row {n}", label) for n, label in enumerate(labels)]
    task = user_task(tmp_path, train, [("another", next(iter(labels)))])
    (line,) = remarks(load_rows(task), task)
    assert line.startswith("task mine: labels read as ")
    assert said in line
    assert (";" in line) == (";" in said)
    declared = replace(task, kind="regression" if "regression" in said else "classes")
    assert remarks(load_rows(declared), declared) == []


def test_rows_that_stand_in_train_and_test_are_counted(tmp_path: Path) -> None:
    train = [(f"row {n}", n % 2) for n in range(8)]
    task = user_task(tmp_path, train, [("row 1", 1), ("row 1", 0), ("row 7", 1), ("new", 0)])
    rows = load_rows(task)
    assert "3 of 4 test rows have a text that stands in the rows to learn from" in remarks(rows, task)[1]
    drawn = split(rows, k=2, dev=1, seed=0)
    seen = {row.text for row in (*drawn.train, *drawn.dev)}
    assert drawn.repeated == sum(row.text in seen for row in drawn.test)
    assert split(rows, k=None, dev=1, seed=0).repeated == 3
    pairs = Rows(train=[Row("a", "b", 0), Row("a", "c", 1)], dev=None, test=[Row("a", "c", 0), Row("b", "a", 1)])
    assert count_repeated(pairs.test, pairs.train) == 1


@pytest.mark.parametrize("label", [1e16, -1e300, 10**400, float("inf"), float("nan")])
def test_a_label_that_no_regression_can_learn_is_named_with_its_row(label: Any, tmp_path: Path) -> None:
    rows = Rows(train=[Row("a", None, 0.5), Row("b", None, label)], dev=None, test=[Row("c", None, 0.5)])
    task = Task(name="mine", source=Folder(tmp_path), read=lambda _: rows)
    with pytest.raises(UserError, match="task mine: train row 2 has "):
        load_rows(task)


def test_long_numbers_in_csv_are_names(tmp_path: Path) -> None:
    ids = ["9" * 20, "8" * 5000]
    for part in ("train", "validation"):
        (tmp_path / f"{part}.csv").write_text(
            "text,label\n" + "".join(f"a{n},{label}\n" for n, label in enumerate(ids))
        )
    assert [row.label for row in load_rows(Task(name="mine", source=Folder(tmp_path))).train] == ids
