"""The executor of this machine: it waits asleep, and says how a child died."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from bench.contract.executors import ExecutorUnderTest
from bench.grid.executors.executor import Attempt, Executor
from tests.conftest import run_one


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


def test_how_a_child_died_in_words() -> None:
    assert Attempt.of_exit(-signal.SIGSEGV).ended == "the process was killed by SIGSEGV"
    assert Attempt.of_exit(-999).ended == "the process was killed by signal 999"
    assert Attempt.of_exit(0).ended == "the process ended with exit code 0 and left no record"
