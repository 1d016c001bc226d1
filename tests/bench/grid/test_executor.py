from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from bench.grid.executor import LocalExecutor, death
from bench.progress import Progress
from bench.records.spec import Job
from bench.records.store import read_outputs, read_record, record_path, runs_folder
from tests.conftest import MakeSpec

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
