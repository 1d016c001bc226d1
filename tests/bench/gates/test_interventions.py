"""Interventions are the tables that their names say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.gates.interventions import LearnedGates, tables


def recorded(examples: int = 5) -> LearnedGates:
    values = np.linspace(0.1, 0.9, examples * 4).reshape(examples, 4)
    parts = ["adapter", "lora", "adapter", "lora"]
    return LearnedGates(values, np.array([0.2, 0.4, 0.6, 0.8]), [0, 0, 1, 1], parts, {"other": np.full(4, 0.3)})


def made(examples: int = 5, seed: int = 0) -> dict[str, np.ndarray]:
    return tables(recorded(examples), np.random.default_rng(seed))


def test_each_table_by_hand() -> None:
    source, found = recorded(), made()
    np.testing.assert_array_equal(found["learned"], source.values)
    assert set(found["all open"].ravel()) == {1.0}
    assert set(found["all half"].ravel()) == {0.5}
    np.testing.assert_array_equal(found["own mean"], [source.dev_means] * 5)
    assert found["task mean"].ravel() == pytest.approx([0.5] * 20)
    np.testing.assert_allclose(found["inverted"] + source.values, 1.0)
    assert set(found["another task's means"].ravel()) == {0.3}


@given(st.integers(2, 30), st.integers(0, 99))
def test_shuffling_keeps_what_it_should(examples: int, seed: int) -> None:
    source, found = recorded(examples), made(examples, seed)
    over_examples = found["shuffled over examples"]
    assert sorted(map(tuple, over_examples)) == sorted(map(tuple, source.values)), "whole rows are dealt"
    over_layers = found["shuffled over layers"]
    for columns in ([0, 2], [1, 3]):
        for row in range(examples):
            assert sorted(over_layers[row, columns]) == sorted(source.values[row, columns]), "within part and example"


def test_a_seed_makes_the_same_tables() -> None:
    for name, values in made(seed=3).items():
        np.testing.assert_array_equal(values, made(seed=3)[name])
