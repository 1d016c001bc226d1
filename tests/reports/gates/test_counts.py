"""The effective table: trained and stored beside the four counts, with intervals, none at one seed."""

from __future__ import annotations

import pandas as pd
import pytest
from scipy import stats

from bench.records.record import Effective, Record, Result
from reports.gates.counts import effective_counts, idle_figures
from reports.gates.frames import Study
from tests.conftest import tiny_spec

COUNTS = {"soft_parameters": 400.0, "active_parameters": 1000.0, "contributing_parameters": 700.0}


def run(seed: int, verified: int, dead: float) -> Record:
    spec = tiny_spec("unipelt", seed=seed)
    effective = Effective(
        parts=8, part_parameters=900, verified_parameters=verified, verified_parts=["adapter.0.ffn"],
        verified_epsilon=0.02, verified_rows=1000, verified_on="spare" if seed else "half of dev",
        idle={"adapter_dead_units_share": dead}, **COUNTS,
    )  # fmt: skip
    result = Result(
        kind="classes", headline="accuracy", test_scores={"accuracy": 0.5}, trained_parameters=5000,
        stored_parameters=1000, head_parameters=10, backbone_parameters=10_000, train_examples=24, dev_examples=16,
        test_examples=300, head_kind="mean", learning_rate=1e-3, head_learning_rate=1e-3, data_digest="",
        effective=effective,
    )  # fmt: skip
    started = "2026-01-01T00:00:00+00:00"
    return Record(digest=spec.digest, status="ok", asked=spec, result=result, environment={}, started_at=started)


def study(*runs: Record) -> Study:
    nothing = pd.DataFrame()
    return Study(values=nothing, effects=nothing, acts=nothing, runs=runs, beside=runs, examples=20)


def test_counts_by_hand() -> None:
    table = effective_counts(study(run(0, 300, 0.0), run(1, 500, 0.1)))
    assert table is not None
    assert "within 0.02, shown at 95% on rows that had no part in choosing what was removed" in table.says
    assert "(1 of 2 runs: on half of the dev rows, which had chosen the checkpoint)" in table.says
    rows = table.rows.set_index("figure")
    assert rows.loc["trained", "mean"] == 5000
    assert rows.loc["stored", "mean"] == 1000
    assert pd.isna(rows.loc["stored", "low"]), "a count is no estimate"
    half = stats.t.ppf(0.975, 1) * 100  # two runs at 300 and 500: standard error 100
    assert rows.loc["verified", "mean"] == 400
    assert 400 - half < 0
    assert rows.loc["verified", "low"] == 0, "cut to what is possible"
    assert rows.loc["verified", "high"] == pytest.approx(min(1000, 400 + half))
    assert rows.loc["verified parts of 8", "mean"] == 1
    assert (rows.loc[["soft", "contributing(0.01)"], "runs"] == 2).all()
    assert "verified: test score change" not in rows.index, "what was not measured has no row"


def test_one_seed_has_no_interval() -> None:
    for table in (effective_counts(study(run(0, 300, 0.0))), idle_figures(study(run(0, 300, 0.0)))):
        assert table is not None
        assert table.rows[["low", "high"]].isna().all(axis=None)
        assert "One seed" in table.says


def test_what_idles_is_in_a_table() -> None:
    table = idle_figures(study(run(0, 300, 0.0), run(1, 500, 0.1)))
    assert table is not None
    (row,) = table.rows.to_dict("records")
    assert (row["figure"], row["mean"], row["low"], row["runs"]) == ("adapter_dead_units_share", 0.05, 0, 2)
