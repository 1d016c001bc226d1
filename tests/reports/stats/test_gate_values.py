"""Recorded gate values: read in any order, refused when incomplete, and brought to equal length."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from reports.stats.gate_values import GateValues


def frame(seeds: int = 2, examples: int = 3) -> pd.DataFrame:
    levels = [["a", "b"], range(seeds), range(examples), range(2), ["lora", "prefix"]]
    names = ["task", "seed", "example", "layer", "part"]
    rows = pd.MultiIndex.from_product(levels, names=names).to_frame(index=False)
    return rows.assign(value=np.arange(len(rows), dtype=float), length=rows["example"] + 5)


def test_order_of_rows_does_not_matter() -> None:
    gates = GateValues.from_frame(frame().sample(frac=1, random_state=0))
    assert gates.tasks == ("a", "b")
    np.testing.assert_array_equal(gates.values[1], np.arange(24, 48).reshape(2, 3, 2, 2))
    assert gates.lengths is not None
    np.testing.assert_array_equal(gates.lengths[0], [5, 6, 7])


def test_what_is_incomplete_is_refused_by_name() -> None:
    rows = frame()
    with pytest.raises(ValueError, match="lack the columns part"):
        GateValues.from_frame(rows.drop(columns="part"))
    with pytest.raises(ValueError, match="task b: 23 gate values where 2 seeds by 3 examples"):
        GateValues.from_frame(rows.iloc[:-1])
    with pytest.raises(ValueError, match="task a: 25 gate values, some given twice,"):
        GateValues.from_frame(pd.concat([rows, rows.iloc[:1]]))
    with pytest.raises(ValueError, match="absent value"):
        GateValues.from_frame(rows.assign(value=rows["value"].where(rows.index > 0)))
    with pytest.raises(ValueError, match="task a: an example's length"):
        GateValues.from_frame(rows.assign(length=rows["length"].where(rows.index > 0, 9)))


def test_overlap_counts_lengths_that_every_task_has() -> None:
    rows = frame()
    assert GateValues.from_frame(rows).length_overlap() == 1
    shifted = rows.assign(length=rows["length"] + 2 * (rows["task"] == "b"))  # 5, 6, 7 and 7, 8, 9
    assert GateValues.from_frame(shifted).length_overlap() == pytest.approx(1 / 3)
    assert GateValues.from_frame(rows.drop(columns="length")).length_overlap() is None


def test_equal_length_removes_each_runs_own_curve_and_nothing_else() -> None:
    generator = np.random.default_rng(0)
    lengths = (generator.integers(5, 60, size=300), generator.integers(5, 60, size=200))
    slopes, offset = generator.normal(size=(2, 3, 1, 4, 2)), generator.normal(size=(2, 3, 1, 4, 2))
    curves = [np.tanh((length - 30) / 20)[None, :, None, None] for length in lengths]
    noise = [0.1 * generator.normal(size=(3, len(length), 4, 2)) for length in lengths]
    values = tuple(offset[t] + slopes[t] * curves[t] + noise[t] for t in range(2))
    held = GateValues(tasks=("a", "b"), values=values, lengths=lengths).at_equal_length()
    assert held is not None
    for t in range(2):
        # What is left within a run is the noise; a run's mean is its curve's over both tasks' lengths.
        assert held[t].std(axis=1).mean() == pytest.approx(0.1, rel=0.05)
        level = np.mean([curve.mean() for curve in curves])
        np.testing.assert_allclose(held[t].mean(axis=1), (offset[t] + slopes[t] * level)[:, 0], atol=0.05)


def test_noise_keeps_its_size_and_one_length_changes_nothing() -> None:
    generator = np.random.default_rng(1)
    values = generator.normal(size=(2, 60, 3, 2))
    spread = GateValues(tasks=("a",), values=(values,), lengths=(generator.integers(5, 30, size=60),))
    held = spread.at_equal_length()
    assert held is not None
    assert held[0].var(axis=1).mean() == pytest.approx(values.var(axis=1).mean(), rel=0.05)
    constant = GateValues(tasks=("a",), values=(values,), lengths=(np.full(60, 9),)).at_equal_length()
    assert constant is not None
    np.testing.assert_allclose(constant[0], values)
