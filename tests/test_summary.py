from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from bench.config import MethodSpec, RunSpec
from bench.store import Record, Result
from reports.summary import figures, markdown, show, tables, write
from tests.conftest import MakeSpec


def run(
    make_spec: MakeSpec,
    method: str,
    seed: int,
    score: float | None,
    *,
    stored: int = 10,
    time: float | None = 2.0,
) -> Record:
    spec: RunSpec = make_spec("head", seed=seed)
    named = MethodSpec(name=method, label=method, source="built-in", fields={})
    result = Result(
        kind="classes",
        headline="accuracy",
        test_scores={} if score is None else {"accuracy": score},
        trained_parameters=stored * 3,
        stored_parameters=stored,
        head_parameters=6,
        backbone_parameters=1000,
        train_examples=24,
        dev_examples=16,
        test_examples=300,
        train_time_s=time,
        head_kind="mean",
        learning_rate=1e-3,
        head_learning_rate=5e-3,
        data_digest="0",
    )
    return Record(
        digest="0", status="ok", asked=spec.model_copy(update={"method": named}), result=result,
        environment={}, started_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def lost(record: Record, status: str, reason: str) -> Record:
    return record.model_copy(update={"status": status, "reason": reason, "result": None})


def test_a_table_by_hand(make_spec: MakeSpec) -> None:
    records = [
        run(make_spec, "big", 0, 0.5, stored=1000, time=1.0),
        run(make_spec, "big", 1, 0.7, stored=1000, time=2.0),
        run(make_spec, "floor", 0, 0.25, stored=0, time=None),
        run(make_spec, "small[r=2]", 0, 0.8, stored=5),
        lost(run(make_spec, "small[r=2]", 1, None), "failed", "it broke"),
        lost(run(make_spec, "odd", 0, None), "unsupported", "no such layers"),
    ]
    (table,) = tables(records)
    assert table.header == ["method", "synthetic (accuracy)", "trained", "stored", "share", "train s"]
    assert table.rows == [
        ["floor", "0.250 (n=1)", "0", "0", "0.000%", "-"],
        ["small[r=2]", "0.800 (n=1, 1 failed)", "15", "5", "0.500%", "2.0"],
        ["big", "0.600 ± 0.141 (n=2)", "3,000", "1,000", "100.000%", "1.5"],
        ["odd", "1 unsupported", "-", "-", "-", "-"],
    ]
    assert "small[r=2] on synthetic, seed 1/1: failed: it broke" in table.notes
    assert "odd on synthetic, seed 0/0: unsupported: no such layers" in table.notes
    assert not any("One seed" in note for note in table.notes)


def test_an_undefined_score_is_named(make_spec: MakeSpec) -> None:
    (table,) = tables([run(make_spec, "m", 0, None), run(make_spec, "m", 1, 0.5)])
    assert table.rows[0][1] == "0.500 (n=1, 1 undefined)"


def test_one_seed_is_said(make_spec: MakeSpec) -> None:
    (table,) = tables([run(make_spec, "m", 0, 0.5)])
    assert table.rows[0][1] == "0.500 (n=1)"
    assert any("One seed" in note for note in table.notes)


def test_other_settings_stand_in_other_tables(make_spec: MakeSpec) -> None:
    first = run(make_spec, "m", 0, 0.5)
    other = first.model_copy(update={"asked": first.asked.model_copy(update={"k": None})})
    assert [table.title.split(", ")[1] for table in tables([first, other])] == ["K=24", "K=all"]


def test_nothing_but_failures_still_makes_a_table(make_spec: MakeSpec, tmp_path: Path) -> None:
    records = [lost(run(make_spec, "m", 0, None), "failed", "no")]
    assert tables(records)[0].rows == [["m", "1 failed", "-", "-", "-", "-"]]
    assert len(write(records, tmp_path)) == 2


def test_raw_numbers(make_spec: MakeSpec, tmp_path: Path) -> None:
    records = [run(make_spec, "m", seed, score, time=None) for seed, score in enumerate((0.5, 0.75))]
    report, table = write(records, tmp_path)
    (row,) = csv.DictReader(table.read_text().splitlines())
    assert float(row["score_mean"]) == 0.625
    assert float(row["score_std"]) == pytest.approx(0.125 * 2**0.5)
    assert (row["seeds"], row["stored_parameters"], row["train_time_s"]) == ("2", "10.0", "")
    assert figures(records).shape == (1, len(row))
    assert "0.625 ± 0.177 (n=2)" in report.read_text()


def test_markup_in_a_name_stays_text(make_spec: MakeSpec, capsys: pytest.CaptureFixture[str]) -> None:
    records = [run(make_spec, "m[bold]|<b>", 0, 0.5)]
    assert r"m\[bold\]\|\<b\>" in markdown(tables(records)[0])
    show(records)
    assert "m[bold]" in capsys.readouterr().out


def test_reports_do_not_import_torch() -> None:
    code = "import sys, reports.summary; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
