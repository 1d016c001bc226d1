"""Rank correlations of gates: scipy's, nominal labels, what is undefined, and the law at one seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests

from reports.stats.association import Association, associations


def recorded(seeds: int = 3, examples: int = 120, *, seed: int = 0, gates: int = 2) -> pd.DataFrame:
    """Values in layer 0 follow length, in layer 1 nothing; the label has three classes."""
    rng = np.random.default_rng(seed)
    levels = [["trec"], range(seeds), range(examples), range(gates), ["lora"]]
    names = ["task", "seed", "example", "layer", "part"]
    rows = pd.MultiIndex.from_product(levels, names=names).to_frame(index=False)
    length = rng.integers(5, 60, size=examples)[rows["example"]]
    noise = rng.normal(size=len(rows))
    loss = length / 60 + rng.normal(size=examples)[rows["example"]]
    return rows.assign(
        value=np.where(rows["layer"] == 0, length / 15 + noise, noise),
        length=length,
        loss=loss,
        correct=loss < 0.5,
        label=rows["example"] % 3,
    )


def row(rows: tuple[Association, ...], layer: int, covariate: str) -> Association:
    (found,) = (one for one in rows if one.layer == layer and one.covariate == covariate)
    return found


def test_one_run_is_scipys_spearman_without_a_verdict() -> None:
    frame = recorded(seeds=1)
    rows = associations(frame)
    of_gate = frame[frame["layer"] == 0]
    for covariate in ("length", "loss", "correct"):
        found = row(rows, 0, covariate)
        reference = scipy_stats.spearmanr(of_gate["value"], of_gate[covariate]).statistic
        assert found.correlation == pytest.approx(reference)
        assert (found.interval, found.p_value, found.p_adjusted, found.runs) == (None, None, None, 1)


def test_runs_are_averaged_and_tests_corrected() -> None:
    rows = associations(recorded())
    length, nothing = row(rows, 0, "length"), row(rows, 1, "length")
    assert length.correlation == pytest.approx(0.72, abs=0.1)
    assert length.interval is not None
    assert length.interval.low < length.correlation < length.interval.high
    assert length.p_value is not None
    # Two gates by length, loss, correct and three classes: twelve tests.
    assert length.p_adjusted is not None
    assert length.p_value < length.p_adjusted <= length.p_value * 12 < 0.05
    assert nothing.interval is not None
    assert nothing.interval.low < 0 < nothing.interval.high
    assert nothing.p_adjusted == 1
    assert (length.runs, length.examples) == (3, 120)
    looser = associations(recorded(), correction="fdr_bh")
    reference = multipletests([one.p_value for one in looser], method="fdr_bh")[1]
    assert [one.p_adjusted for one in looser] == pytest.approx(list(reference))


def test_classes_stand_one_against_the_rest_and_numbers_do_not() -> None:
    frame = recorded()
    assert {found.covariate for found in associations(frame, covariates=["label"])} == {
        "label=0",
        "label=1",
        "label=2",
    }
    two = frame.assign(label=np.where(frame["label"] == 0, "no", "yes"))
    assert {found.covariate for found in associations(two, covariates=["label"])} == {"label"}
    numbers = associations(frame, covariates=["label"], numeric_labels=["trec"])
    assert {found.covariate for found in numbers} == {"label"}


def test_holding_length_constant_takes_its_part_away() -> None:
    frame = recorded(examples=400)
    plain, held = (row(associations(frame, given=given), 0, "loss") for given in (None, "length"))
    assert plain.correlation is not None
    assert held.correlation is not None
    assert held.interval is not None
    assert plain.correlation > 0.15
    assert held.interval.low < 0 < held.interval.high
    # The partial correlation by its definition: residuals of the ranks on the ranks of length.
    run = frame[(frame["seed"] == 0) & (frame["layer"] == 0)]
    x, y, z = (scipy_stats.rankdata(run[name]) for name in ("value", "loss", "length"))
    x, y = (v - np.polyval(np.polyfit(z, v, 1), z) for v in (x, y))
    alone = row(associations(frame[frame["seed"] == 0], given="length"), 0, "loss")
    assert alone.correlation == pytest.approx(np.corrcoef(x, y)[0, 1])


def test_what_does_not_vary_has_no_correlation() -> None:
    frame = recorded().assign(correct=True)
    found = row(associations(frame), 0, "correct")
    assert (found.correlation, found.interval, found.p_value, found.runs) == (None, None, None, 0)
    frame.loc[frame["layer"] == 1, "value"] = 0.5
    assert row(associations(frame), 1, "length").correlation is None
    assert associations(frame.assign(loss=np.nan), covariates=["loss"]) == ()


def test_incomplete_records_are_refused() -> None:
    frame = recorded()
    with pytest.raises(ValueError, match="lack the columns loss"):
        associations(frame.drop(columns="loss"))
    with pytest.raises(ValueError, match="task trec, seed 2: an example lacks"):
        associations(frame.iloc[:-1])


def test_false_alarms_are_at_most_5_percent() -> None:
    # Setting: no correlation, but an example's gate value is alike in all runs; 3 seeds, 40 gates a time.
    alarms = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        frame = recorded(examples=100, seed=seed, gates=40)
        shared = rng.normal(size=(100, 40))[frame["example"], frame["layer"]]
        frame["value"] = shared + 0.5 * rng.normal(size=len(frame))
        alarms += [(one.p_value or 1) <= 0.05 for one in associations(frame, covariates=["length"])]
    assert np.mean(alarms) <= 0.05


def test_perfect_correlation_is_no_error() -> None:
    frame = recorded()
    found = row(associations(frame.assign(value=frame["length"])), 0, "length")
    assert found.correlation == pytest.approx(1)
    assert found.p_adjusted is not None
    assert found.p_adjusted < 1e-6
