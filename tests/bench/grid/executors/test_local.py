"""The executor of this machine: it waits asleep, and says how a child died."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from bench.contract.executors import ExecutorUnderTest
from bench.grid.executors.executor import Attempt, Executor
from bench.records.store import Record, read_records
from tests.conftest import bench, run_one


def test_the_parent_sleeps_while_it_waits(tmp_path: Path, executor: Executor) -> None:
    """What it computed would be measured as a run's time and energy."""

    class Woken(Exception): ...

    def wake(number: int, frame: object) -> None:
        raise Woken

    spec = ExecutorUnderTest(executor, executor, tmp_path).spec("sleeps")
    before = signal.signal(signal.SIGALRM, wake)
    signal.setitimer(signal.ITIMER_REAL, 2.0)
    began = os.times()
    try:
        with pytest.raises(Woken):
            run_one(executor, spec, tmp_path / "out")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert os.times().user + os.times().system - began.user - began.system < 0.5
    assert not (tmp_path / "out" / ".attempts").exists()


def test_runs_side_by_side_score_the_same_and_have_no_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", "head", "bitfit", "--preset", "smoke", "--k", "16", "--steps", "4", "--seeds", "1"]
    words += ["--no-effective", "--no-profile", "--no-resident"]

    def records(out: str, *more: str) -> dict[str, Record]:
        assert bench(*words, *more, "--out", str(tmp_path / out), monkeypatch=monkeypatch) == 0
        return {record.digest: record for record in read_records(tmp_path / out)}

    alone, beside = records("alone"), records("beside", "--jobs", "2")
    assert alone.keys() == beside.keys()  # one thread each: --preset smoke says so
    why = "2 runs were made side by side"
    for digest, record in beside.items():
        one, other = alone[digest].result, record.result
        assert one is not None and other is not None and one.costs is not None and other.costs is not None
        assert (other.test_scores, other.curve) == (one.test_scores, one.curve)
        assert (other.train_time_s, other.infer_time_s, record.wall_time_s) == (None, None, None)
        absent = other.costs.absent
        names = ("train_time_s", "infer_time_s", "train_energy_measured_joules", "train_energy_estimated_joules")
        assert [absent[name] for name in names] == [why] * 4
        timeless = {key: value for key, value in one.costs.figures.items() if not key.endswith(("_per_s", "_joules"))}
        assert {key: other.costs.figures.get(key) for key in timeless} == timeless
        assert other.costs.figures.keys() == timeless.keys()
        assert (record.environment["side_by_side"], record.environment["threads"]) == (2, 1)
    assert why in (tmp_path / "beside" / "report.md").read_text()
    capsys.readouterr()
    again = records("beside")  # now the times are wanted
    assert all(record.wall_time_s and record.side_by_side == 1 for record in again.values())
    assert capsys.readouterr().err.count("/2] ") == 2
    records("beside", "--jobs", "2")
    assert "] " not in capsys.readouterr().err


def test_how_a_child_died_in_words() -> None:
    assert Attempt.of_exit(-signal.SIGSEGV).ended == "the process was killed by SIGSEGV"
    assert Attempt.of_exit(-999).ended == "the process was killed by signal 999"
    assert Attempt.of_exit(0).ended == "the process ended with exit code 0 and left no record"
