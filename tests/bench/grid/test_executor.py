from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.grid.executor import LocalExecutor, death
from bench.grid.plan import Plan, run_grid
from bench.progress import Progress
from bench.records.spec import Job, Measures, RunSpec
from bench.records.store import (
    claimed,
    finished,
    read_outputs,
    read_record,
    record_path,
    runs_folder,
    set_aside,
    weights_path,
    write_record,
)
from tests.conftest import MakeSpec, bench

DYING = """
import os, signal, sys
from dataclasses import dataclass
from typing import ClassVar, Literal
from bench import Method

@dataclass(frozen=True, kw_only=True)
class Dying(Method):
    name: ClassVar[str] = "dying"
    how: Literal["kill", "exit", "raise", "recursion", "sleep"] = "kill"

    def adapt(self, model):
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "exit":
            os._exit(3)
        if self.how == "raise":
            raise RuntimeError("first line\\nsecond line")
        if self.how == "recursion":
            self.adapt(model)
        if self.how == "sleep":
            import time
            time.sleep(600)
"""


@pytest.fixture
def dying(tmp_path: Path) -> str:
    path = tmp_path / "dying.py"
    path.write_text(DYING)
    return f"{path}:Dying"


def test_a_run_in_a_child_is_the_run_itself(tmp_path: Path, make_spec: MakeSpec, executor: LocalExecutor) -> None:
    told: list[Progress] = []
    spec = make_spec("lora")
    record = executor.run(Job(run=spec), tmp_path, report=told.append)
    assert record.status == "ok"
    assert record == read_record(record_path(tmp_path, spec.digest))
    assert read_outputs(tmp_path, spec.digest)["logits"].shape == (300, 3)
    assert told[-1].done == told[-1].total == 6
    again = executor.run(Job(run=spec), tmp_path / "again")
    assert record.result is not None
    assert again.result is not None
    assert again.result.test_scores == record.result.test_scores


@pytest.mark.parametrize(
    ("how", "reason", "traced"),
    [
        ("kill", "the process was killed by SIGKILL, probably for want of memory", False),
        ("exit", "the process ended with exit code 3 and left no record", False),
        ("raise", "RuntimeError: first line", True),
        ("recursion", "RecursionError: maximum recursion depth exceeded", True),
    ],
)
def test_a_child_that_dies_becomes_a_failed_record(
    how: str,
    reason: str,
    traced: bool,
    dying: str,
    tmp_path: Path,
    make_spec: MakeSpec,
    executor: LocalExecutor,
) -> None:
    spec = make_spec(f"{dying}[how={how}]")
    record = executor.run(Job(run=spec), tmp_path)
    assert record.status == "failed"
    assert record.reason is not None
    assert record.reason.startswith(reason)
    assert (record.traceback is not None) == traced
    assert read_record(record_path(tmp_path, spec.digest)) == record
    assert executor.run(Job(run=make_spec("head")), tmp_path).status == "ok", "the next run is not harmed"


def test_an_interrupt_ends_the_child_and_leaves_nothing(
    dying: str, tmp_path: Path, make_spec: MakeSpec, executor: LocalExecutor
) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            executor.run(Job(run=make_spec(f"{dying}[how=sleep]")), tmp_path)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < 60
    assert not runs_folder(tmp_path).exists() or list(runs_folder(tmp_path).iterdir()) == []


def test_the_parent_sleeps_while_it_waits(
    dying: str, tmp_path: Path, make_spec: MakeSpec, executor: LocalExecutor
) -> None:
    class Woken(Exception): ...

    def wake(number: int, frame: object) -> None:
        raise Woken

    before = signal.signal(signal.SIGALRM, wake)
    signal.setitimer(signal.ITIMER_REAL, 2.0)
    began = os.times()
    try:
        with pytest.raises(Woken):
            executor.run(Job(run=make_spec(f"{dying}[how=sleep]")), tmp_path)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert os.times().user + os.times().system - began.user - began.system < 0.5


def test_how_a_child_died_in_words() -> None:
    assert death(-signal.SIGSEGV) == "the process was killed by SIGSEGV"
    assert death(-999) == "the process was killed by signal 999"
    assert death(0) == "the process ended with exit code 0 and left no record"


FAILING = """
import os, signal
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from bench import Method

@dataclass(frozen=True, kw_only=True)
class Failing(Method):
    # Trains one bias, and fails as the file beside this one says.
    name: ClassVar[str] = "failing"

    def adapt(self, model):
        how = (Path(__file__).parent / "how.txt").read_text()
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "raise":
            raise RuntimeError("no luck today")
        model.encoder.layer[0].output.dense.bias.requires_grad_(True)
"""
SCORES = Measures(costs=False, energy=False, effective=False, resident=False, profile=False)
ALL = SCORES.model_copy(update={"costs": True})


def fails(folder: Path, how: str) -> None:
    (folder / "how.txt").write_text(how)


@pytest.fixture
def failing(tmp_path: Path, make_spec: MakeSpec) -> RunSpec:
    (tmp_path / "failing.py").write_text(FAILING)
    fails(tmp_path, "no")
    return make_spec(f"{tmp_path}/failing.py:Failing")


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("kill", "the process was killed by SIGKILL, probably for want of memory"),
        ("raise", "RuntimeError: no luck today"),
    ],
)
def test_an_attempt_that_fails_leaves_the_earlier_scores(
    how: str, reason: str, failing: RunSpec, tmp_path: Path, executor: LocalExecutor
) -> None:
    out, digest = tmp_path / "out", failing.digest
    good = executor.run(Job(run=failing, measures=SCORES), out)
    assert good.result is not None
    files = {file.name: file.read_bytes() for file in runs_folder(out).iterdir() if file.suffix != ".json"}
    assert len(files) == 2
    fails(tmp_path, how)
    (record,) = run_grid(Plan([failing], {}, ALL), out, executor)
    assert (record.status, record.reason) == ("failed", f"{reason}; the scores of an earlier run of it stay")
    stays = read_record(record_path(out, digest))
    assert stays.status == "ok"
    assert stays.result is not None
    assert stays.result.model_copy(update={"costs": None}) == good.result
    assert stays.result.costs is not None
    assert stays.result.costs.absent["train_flops"] == stays.reason == f"measured anew in vain: {reason}"
    assert (stays.traceback is not None) == (how == "raise")
    assert {file.name: file.read_bytes() for file in runs_folder(out).iterdir() if file.suffix != ".json"} == files
    assert finished(out, SCORES) == {digest}, "a command that asks for no costs finds it done"
    assert finished(out, ALL) == set(), "one that asks for them tries again"
    fails(tmp_path, "no")
    (record,) = run_grid(Plan([failing], {}, ALL), out, executor)
    assert record.complete
    assert record.reason is None
    assert record.result is not None
    assert record.result.test_scores == good.result.test_scores
    assert finished(out, ALL) == {digest}
    assert not list(runs_folder(out).glob("*.earlier"))


def test_costs_that_were_measured_to_the_end_outlive_an_attempt_that_dies(
    failing: RunSpec, tmp_path: Path, executor: LocalExecutor
) -> None:
    out = tmp_path / "out"
    good = executor.run(Job(run=failing, measures=ALL), out)
    assert good.result is not None
    weights_path(out, failing.digest).unlink()
    fails(tmp_path, "kill")
    (record,) = run_grid(Plan([failing], {}, ALL), out, executor)
    assert record.status == "failed"
    stays = read_record(record_path(out, failing.digest))
    assert stays.complete
    assert stays.result == good.result


def test_the_command_says_that_a_run_failed_though_its_scores_stay(
    failing: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [
        "compare",
        failing.method.name,
        "-t",
        "synthetic",
        "-m",
        "tiny",
        "--k",
        "24",
        "--dev",
        "16",
        "--seeds",
        "1",
    ]
    asked += [
        "--epochs",
        "1",
        "--no-energy",
        "--no-effective",
        "--no-profile",
        "--no-resident",
        "--out",
        f"{tmp_path}/out",
    ]
    assert bench(*asked, "--no-costs", monkeypatch=monkeypatch) == 0
    fails(tmp_path, "raise")
    assert bench(*asked, "--costs", monkeypatch=monkeypatch) == 1
    told = capsys.readouterr()
    assert "1 of 1 runs failed" in told.err
    assert "no luck today" in (tmp_path / "out" / "report.md").read_text()
    fails(tmp_path, "no")
    assert bench(*asked, "--costs", monkeypatch=monkeypatch) == 0


@pytest.mark.parametrize("left", ["nothing", "a failed record", "a result"])
def test_what_a_killed_parent_left_aside_comes_back_at_the_next_start(
    left: str, failing: RunSpec, tmp_path: Path, executor: LocalExecutor
) -> None:
    out, digest = tmp_path / "out", failing.digest
    good = executor.run(Job(run=failing, measures=SCORES), out)
    outputs, weights = read_outputs(out, digest), weights_path(out, digest).read_bytes()
    assert set_aside(out, digest) == good
    assert list(runs_folder(out).glob("*.json")) == []
    newer = good.model_copy(update={"started_at": "2027-01-01T00:00:00+00:00"})
    if left == "a failed record":
        write_record(out, newer.model_copy(update={"status": "failed", "result": None, "reason": "no"}))
    if left == "a result":
        write_record(out, newer)
    with claimed(out):
        assert read_record(record_path(out, digest)) == (newer if left == "a result" else good)
        assert (read_outputs(out, digest)["logits"] == outputs["logits"]).all()
        assert weights_path(out, digest).read_bytes() == weights
        assert not list(runs_folder(out).glob("*.earlier"))


def test_a_record_that_is_damaged_is_not_set_aside(failing: RunSpec, tmp_path: Path) -> None:
    path = record_path(tmp_path, failing.digest)
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        set_aside(tmp_path, failing.digest)
    assert path.exists()
