"""The executor of this machine: what its child processes import, and how they are ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.contract.executors import ExecutorUnderTest
from bench.grid.executors.executor import Attempt, Executor
from tests.conftest import run_one

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="PYTHONSAFEPATH came with Python 3.11")
def test_a_folder_called_methods_where_the_command_was_typed_is_not_imported(tmp_path: Path) -> None:
    """The installed command looks there for nothing; a child process would, if nobody kept it from that."""
    (tmp_path / "typed" / "methods").mkdir(parents=True)
    (tmp_path / "typed" / "methods" / "__init__.py").write_text("raise SystemExit('a stranger was imported')")
    script = tmp_path / "script.py"  # outside the folder, as the installed command is
    script.write_text("from bench.cli import main\nif __name__ == '__main__':\n    main()\n")
    options = ["--preset", "smoke", "--k", "8", "--no-costs", "--no-energy", "--no-effective", "--no-profile"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script), "compare", "majority", *options],
        capture_output=True, text=True, cwd=tmp_path / "typed", env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "[1/1] majority on synthetic" in done.stderr


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
