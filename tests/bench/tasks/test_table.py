"""Rows in Arrow columns are the rows that a list would hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.sources.split import split
from bench.tasks import Row, Rows, table
from bench.tasks.table import ArrowRows, gather, labels, take, with_labels

ROWS = [Row(f"text {n}", None if n % 3 else f"pair {n}", n % 5) for n in range(47)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "BATCH", 4)


def test_a_table_is_the_list_of_its_rows() -> None:
    rows = gather(iter(ROWS))
    assert isinstance(rows, ArrowRows)
    assert rows == ROWS
    assert rows != ROWS[:-1]
    assert list(labels(rows)) == [row.label for row in ROWS]
    assert (rows[0], rows[-1], rows[46]) == (ROWS[0], ROWS[-1], ROWS[46])
    assert all(type(row.label) is int for row in rows)
    with pytest.raises(IndexError):
        rows[47]
    assert gather(ROWS[:3]) == ROWS[:3]
    assert isinstance(gather(ROWS[:3]), list)  # fewer rows than a batch
    assert gather(ROWS[:8]) == ROWS[:8]
    assert gather([]) == []


@settings(deadline=None)
@given(st.permutations(range(47)), st.integers(-60, 60), st.integers(-60, 60), st.sampled_from([None, 1, 2, -1]))
def test_draws_and_slices_are_those_of_a_list(order: list[int], start: int, stop: int, step: int | None) -> None:
    table.BATCH = 4
    piece = slice(start, stop, step)
    drawn = take(gather(ROWS), np.array(order))
    assert isinstance(drawn, ArrowRows)
    expected = [ROWS[index] for index in order]
    assert drawn == expected
    assert drawn[piece] == expected[piece]
    assert [drawn[index] for index in range(47)] == expected
    assert list(labels(drawn[piece])) == [row.label for row in expected[piece]]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([0, 1, 2, 3, 4], int),
        ([0.5, 1, 2, 3, 4], float),
        ([0, 1, 2, 3, 4.5], float),
        (["a", "b", "c", "d", "e"], str),
        ([0, 1, 2, 3, "e"], None),
        ([0, 1, 2, 3, 10**30], None),
        ([0, 1, 2, 2**63, 4], None),
        ([2**60 + 1, 1, 2, 3, 0.5], None),
        (["a", "b", "c", "d", "\ud800"], None),
    ],
)
def test_labels_keep_their_values(given: list[Any], expected: type | None) -> None:
    rows = gather(Row("a", None, label) for label in given)
    assert [row.label for row in rows] == given
    if expected is None:  # no Arrow column holds them
        assert isinstance(rows, list)
        assert [type(row.label) for row in rows] == [type(label) for label in given]
    else:
        assert {type(row.label) for row in rows} == {expected}


def test_new_labels() -> None:
    rows = gather(ROWS)
    for new in ([str(n) for n in range(47)], [n / 2 for n in range(47)], [10**30] * 47, [0, *["x"] * 46]):
        for old in (rows, ROWS):
            found = with_labels(old, new)
            assert list(found) == [row._replace(label=label) for row, label in zip(ROWS, new, strict=True)]
            assert list(labels(found)) == new
    assert with_labels(rows[40:], list("abcdefg")) == [
        row._replace(label=x) for row, x in zip(ROWS[40:], "abcdefg", strict=True)
    ]
    assert rows == ROWS


@pytest.mark.parametrize(("k", "dev"), [(None, 5), (7, 5), (47, 0)])
def test_a_split_of_a_table_is_that_of_a_list(k: int | None, dev: int) -> None:
    lists = Rows(ROWS, None, ROWS[:9])
    assert split(Rows(gather(ROWS), None, gather(ROWS[:9])), k=k, dev=dev, seed=3) == split(lists, k=k, dev=dev, seed=3)
    own = Rows(ROWS, ROWS[5:20], ROWS[:9])
    made = Rows(gather(ROWS), gather(ROWS[5:20]), gather(ROWS[:9]))
    assert split(made, k=k, dev=dev, seed=3) == split(own, k=k, dev=dev, seed=3)
