from __future__ import annotations

from pathlib import Path

import pytest

from bench.grid import worker
from bench.progress import Progress
from bench.records.spec import Job, Measures
from bench.records.store import read_record, record_path
from tests.conftest import MakeSpec

SCORES = Measures(costs=False, energy=False, effective=False)


def test_the_worker_command(tmp_path: Path, make_spec: MakeSpec, capsys: pytest.CaptureFixture[str]) -> None:
    """In this process; a fresh interpreter is tried by the executor that an author wrote."""
    spec = make_spec("lora", dev=0)
    file = tmp_path / "job.json"
    file.write_text(Job(run=spec, measures=SCORES).model_dump_json())
    assert worker.main([str(file), str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == "lora on synthetic, K=24, seed 0: ok\n"
    record = read_record(record_path(tmp_path / "out", spec.digest))
    assert record.asked == spec
    assert record.result is not None
    assert record.result.curve[-1].scores == {}


def test_the_worker_says_what_it_wants(capsys: pytest.CaptureFixture[str]) -> None:
    assert worker.main([]) == 2
    assert "JOB.json OUT" in capsys.readouterr().err


def test_a_failed_run_is_a_record(tmp_path: Path, make_spec: MakeSpec, capsys: pytest.CaptureFixture[str]) -> None:
    spec = make_spec("full[learning_rate=1e38]", head_learning_rate=1e38, warmup_share=0)
    file = tmp_path / "job.json"
    file.write_text(Job(run=spec, measures=SCORES).model_dump_json())
    assert worker.main([str(file), str(tmp_path)]) == 1
    record = read_record(record_path(tmp_path, spec.digest))
    assert record.status == "failed"
    assert record.reason is not None
    assert "lower the learning rate" in record.reason
    assert record.traceback is None
    assert "failed (the loss became" in capsys.readouterr().out


def test_progress_is_told_ten_times_a_second_at_most() -> None:
    told: list[Progress] = []
    report = worker.throttled(told.append)
    for step in range(1, 1001):
        report(Progress("train", step, 1000, None))
    assert told[0].done == 1
    assert told[-1].done == 1000
    assert len(told) < 10
