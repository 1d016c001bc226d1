"""Scores against numbers worked out by hand, and what a task refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.tasks import Folder, Task, kind_named, score


def test_two_classes_by_hand() -> None:
    # tp 2, fp 1, fn 1, tn 1
    scores = score("classes", [1, 1, 1, 0, 0], [1, 1, 0, 1, 0])
    assert scores["accuracy"] == pytest.approx(3 / 5)
    assert scores["f1"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert scores["matthews"] == pytest.approx((2 * 1 - 1 * 1) / math.sqrt(3 * 3 * 2 * 2))
    assert set(scores) == {one.name for one in kind_named("classes").scores}


def test_three_classes_by_hand() -> None:
    logits = np.array([[3.0, 1, 0], [0, 2, 1], [0, 2, 1], [0, 0, 9]])  # 0 1 1 2
    scores = score("classes", [0, 1, 2, 2], logits)
    assert scores["accuracy"] == pytest.approx(3 / 4)
    assert scores["macro_f1"] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    assert "f1" not in scores
    # (correct * all - sum(p * t)) / sqrt((all^2 - sum p^2) (all^2 - sum t^2))
    assert scores["matthews"] == pytest.approx((3 * 4 - (1 + 2 + 2)) / math.sqrt((16 - 6) * (16 - 6)))


def test_two_logits_of_three_seen_labels_is_binary_only_by_the_model() -> None:
    assert "f1" in score("classes", [0, 1], np.eye(2))
    assert "f1" not in score("classes", [0, 1], np.eye(2, 3))


def test_regression_by_hand() -> None:
    scores = score("regression", [1.0, 2.0, 3.0, 4.0], [[1.0], [2.0], [4.0], [3.0]])
    assert scores["spearman"] == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert scores["pearson"] == pytest.approx(4 / 5)
    curved = score("regression", [1.0, 2.0, 3.0], [1.0, 10.0, 1000.0])
    assert curved["spearman"] == pytest.approx(1.0)
    assert curved["pearson"] < 0.9


def test_undefined_scores_are_absent() -> None:
    assert score("regression", [1.0, 2.0], [3.0, 3.0]) == {}
    assert score("regression", [1.0, 1.0], [3.0, 4.0]) == {}
    assert "f1" not in score("classes", [0, 0], [0, 0])
    assert score("classes", [1, 0], [0, 0])["f1"] == 0.0  # defined: 0 of 1 found


def test_matthews_of_a_constant_is_zero_as_in_glue() -> None:
    assert score("classes", [0, 1, 1], [1, 1, 1])["matthews"] == 0.0
    assert score("classes", [1, 1], [1, 1])["matthews"] == 0.0


@pytest.mark.parametrize(
    ("labels", "outputs"), [([], []), ([0, 1], [0]), ([0, 1], [0.0, math.nan]), ([0], [[math.inf, 0]])]
)
def test_what_cannot_be_scored_is_refused(labels: list[int], outputs: list[float]) -> None:
    with pytest.raises(ValueError, match=r"scored|finite"):
        score("classes", labels, outputs)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40),
    st.permutations(range(40)),
)
def test_the_order_of_rows_does_not_matter(pairs: list[tuple[int, int]], order: list[int]) -> None:
    mixed = [pairs[index] for index in order if index < len(pairs)]
    one, other = (score("classes", [a for a, _ in rows], [b for _, b in rows]) for rows in (pairs, mixed))
    assert one == pytest.approx(other)


def test_a_name_and_a_source_suffice() -> None:
    task = Task(name="mine", source=Folder("somewhere"))
    assert task.headline_of("classes") == "accuracy"
    assert task.headline_of("regression") == "spearman"
    assert Task("mine", Folder("x"), headline="f1").headline_of("classes") == "f1"


def test_a_second_column_without_a_first_is_refused() -> None:
    with pytest.raises(ValueError, match="pair=b needs text="):
        Folder("x", pair="b")
