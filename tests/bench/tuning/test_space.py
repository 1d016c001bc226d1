"""The space and its draws: the same for every method and machine, spread as declared, refused in one line."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.errors import UserError
from bench.tuning import choice, space
from bench.tuning.space import Axis, space_of, uniforms
from methods.kit.base import INSERTED_RATES, THAWED_RATES


@pytest.mark.parametrize("module", [space, choice], ids=lambda module: module.__name__)
def test_examples(module: Any) -> None:
    failed, tried = doctest.testmod(module)
    assert tried > 3
    assert failed == 0


def test_every_method_gets_the_same_numbers_whatever_else_is_searched() -> None:
    alone = uniforms(12, ["learning_rate"], 7)["learning_rate"]
    beside = uniforms(20, ["r", "learning_rate"], 7)
    np.testing.assert_array_equal(beside["learning_rate"][:12], alone)
    assert not np.isclose(beside["r"], beside["learning_rate"]).any()
    assert not np.isclose(uniforms(12, ["learning_rate"], 8)["learning_rate"], alone).any()
    one = space_of({"learning_rate": INSERTED_RATES}, fields=["learning_rate"])
    other = space_of({"learning_rate": THAWED_RATES, "r": [4, 8]}, fields=["learning_rate", "r"])
    places = [
        [of.axes["learning_rate"].position(setting["learning_rate"]) for setting in of.settings(12, seed=7)]
        for of in (one, other)
    ]
    alone = uniforms(12, ["0"], 7)["0"]
    assert places[0] == pytest.approx(alone, abs=1e-3), "up to the rounding to four digits"
    assert places[1] == pytest.approx(alone, abs=1e-3)
    assert one.settings(4, seed=7, first=8) == one.settings(12, seed=7)[8:], "more trials prolong the draws"


def test_draws_are_uniform_and_independent_between_axes() -> None:
    drawn = uniforms(4000, ["learning_rate", "r"], 0)
    for numbers in drawn.values():
        assert stats.kstest(numbers, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(list(drawn.values()))[0, 1]) < 0.05
    values = space_of({"learning_rate": (1e-4, 1e-2), "r": ["a", "b"]}, fields=["learning_rate", "r"]).settings(
        4000, seed=0
    )
    assert np.mean([setting["learning_rate"] < 1e-3 for setting in values]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([setting["r"] == "a" for setting in values]) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({}, "it has no axis"),
        ({"learning_rte": (1e-4, 1e-2)}, "learning_rte: there is no such hyper-parameter; did you mean learning_rate"),
        ({"learning_rate": (1e-2, 1e-2)}, "low 0.01 is not below high 0.01"),
        ({"learning_rate": (0, 1e-2)}, "low 0 has no logarithm"),
        ({"learning_rate": (1e-4, 1e-2, "cubic")}, "scale: Input should be 'log' or 'linear'"),
        ({"learning_rate": (1e-4, float("inf"))}, "high: Input should be a finite number"),
        ({"learning_rate": []}, "give low and high, or choices"),
        ({"learning_rate": [1, 1]}, "stands there twice"),
        ({"learning_rate": {"low": 1, "high": 2, "choices": [1]}}, "not both"),
        ({"learning_rate": "fast"}, "Input should be"),
    ],
)
def test_a_space_that_cannot_be_is_refused_in_one_line(declared: Any, words: str) -> None:
    with pytest.raises(UserError) as caught:
        space_of(declared, fields=["learning_rate", "r"])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_draws_are_refused() -> None:
    for trials, seed in ((0, 0), (1, -1)):
        with pytest.raises(UserError, match="give"):
            uniforms(trials, ["learning_rate"], seed)
    for axis, words in ((Axis(choices=(1, 2)), "no end"), (Axis(low=0, high=1, scale="linear"), "below it")):
        with pytest.raises(UserError, match=words):
            axis.beyond("low", 0.4)
