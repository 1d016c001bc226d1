"""The executor of `subprocess_executor.py`, with forks of this process's fork server in place of fresh interpreters.

A fresh interpreter imports torch and the rest for seconds before it begins the job; a fork has them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import TracebackType

from bench.grid import worker
from tests.bench.contract.subprocess_executor import Subprocesses

CONTEXT = get_context("forkserver")


class Forks(Subprocesses):
    """Private folders, bytes and lines of progress as with `Subprocesses`."""

    name = "forks"

    def start(self, arguments: Sequence[str]) -> Fork:
        return Fork(arguments)


class Fork:
    """A fork that does a job, with what `Subprocesses` uses of `subprocess.Popen`."""

    def __init__(self, arguments: Sequence[str]) -> None:
        receiver, sender = CONTEXT.Pipe(duplex=False)
        with receiver, sender:
            self._process = CONTEXT.Process(target=_do, args=(arguments, sender), daemon=True)
            self._process.start()
            self.stdout = os.fdopen(os.dup(receiver.fileno()))

    def __enter__(self) -> Fork:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stdout.close()
        self._process.join()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def terminate(self) -> None:
        self._process.terminate()


def _do(arguments: Sequence[str], sender: Connection) -> None:
    os.dup2(sender.fileno(), 1)
    sys.exit(worker.main(list(arguments)))
