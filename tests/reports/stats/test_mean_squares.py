"""Sums of squares of gate values: those of statsmodels, and none of them lost."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from reports.stats.mean_squares import TERMS, mean_squares


def equal(*counts: int) -> list[np.ndarray]:
    return [np.full(count, 1 / count) for count in counts]


def test_balanced_sums_of_squares_are_statsmodels() -> None:
    generator, shape = np.random.default_rng(0), (2, 2, 3, 2, 2)
    values = generator.normal(size=shape)
    names = ["task", "seed", "example", "layer", "part"]
    frame = pd.DataFrame(np.indices(shape).reshape(5, -1).T, columns=names).astype(str)
    frame["value"] = values.ravel()
    # Seeds and examples are nested in tasks: they stand only in interactions with them.
    formula = "value ~ task*layer*part + task:seed*layer*part + task:example*layer*part"
    table = anova_lm(ols(formula, frame).fit())["sum_sq"]
    ours = {term: value * len(frame) for term, value in mean_squares(list(values), equal(2, 2)).items()}
    for term in ("task", "layer", "part", "layer:part", "task:layer", "task:part", "task:layer:part"):
        assert ours[term] == pytest.approx(table[term])
    assert ours["seed"] == pytest.approx(table["task:seed"])
    assert ours["example"] == pytest.approx(table["task:example"])
    for ours_name, theirs in (("seed:gate", "task:seed"), ("example:gate", "task:example")):
        of_gate = sum(table[f"{theirs}:{gate}"] for gate in ("layer", "part", "layer:part"))
        assert ours[ours_name] == pytest.approx(of_gate)
    assert ours["seed:example"] == pytest.approx(table["Residual"])


def test_terms_add_up_to_the_variance_with_tasks_weighing_the_same() -> None:
    generator = np.random.default_rng(1)
    values = [generator.normal(size=(3, 40, 2, 3)), generator.normal(size=(2, 10, 2, 3)) + 1]
    terms = mean_squares(values, equal(3, 2))
    assert tuple(terms) == TERMS
    grand = np.mean([one.mean() for one in values])
    assert sum(terms.values()) == pytest.approx(np.mean([((one - grand) ** 2).mean() for one in values]))


def test_one_seed_or_one_task_has_no_term() -> None:
    values = np.random.default_rng(2).normal(size=(1, 5, 2, 2))
    assert set(mean_squares([values], equal(1))) == {"layer", "part", "layer:part", "example", "example:gate"}


def test_weights_are_repeats_of_a_run() -> None:
    values = np.random.default_rng(3).normal(size=(2, 6, 2, 2))
    twice = mean_squares([values[[0, 0, 1]]], equal(3))
    weighed = mean_squares([values], [np.array([2 / 3, 1 / 3])])
    assert weighed == pytest.approx(twice)
