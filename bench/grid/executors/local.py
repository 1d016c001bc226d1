"""The executor of this machine: a fresh child of a preloaded fork server for each job, one after another by default."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Lock
from typing import ClassVar

from bench.grid.executors.executor import Attempt, Executor
from bench.progress import ReportProgress
from bench.records.spec import AnyJob

_PRELOAD = ["bench.grid.warm"]
_GRACE_S = 5.0
"""How long a child may take to end when asked to."""


class LocalExecutor(Executor):
    """Child processes of this machine, one at a time, so that nothing of ours disturbs a run that is timed.

    Make it early: its server imports torch meanwhile, which takes seconds.

    Args:
        jobs: how many children there may be at once; with more than one no time is measured.
    """

    name: ClassVar[str] = "local"
    takes_jobs: ClassVar[bool] = True

    def __init__(self, *, jobs: int = 1) -> None:
        self._jobs = jobs
        self._context = _context()
        self._threads = ThreadPoolExecutor(self.capacity, "local-executor", initializer=_block_interrupts)
        self._lock = Lock()
        self._wanted: dict[BaseProcess, Future[Attempt]] = {}
        if isinstance(self._context, ForkServerContext):
            from multiprocessing import forkserver

            self._context.set_forkserver_preload(_PRELOAD)
            with _without_interrupts(), _offline():
                forkserver.ensure_running()

    @property
    def capacity(self) -> int:
        return self._jobs

    def submit(self, job: AnyJob, folder: Path, report: ReportProgress) -> Future[Attempt]:
        from bench.grid import worker  # imports torch: not before the server has been started

        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=worker.child, args=(job.model_dump_json(), str(folder), sender), daemon=True
        )
        with self._lock:
            future = self._threads.submit(self._watch, process, receiver, sender, report)
            self._wanted[process] = future
        return future

    def _watch(self, process: BaseProcess, receiver: Connection, sender: Connection, report: ReportProgress) -> Attempt:
        """Starts a child and waits until it has ended; in a thread, which no interrupt reaches."""
        with receiver, sender:
            with self._lock:
                if process not in self._wanted:
                    return Attempt("it was stopped before it began")
                process.start()
            sender.close()  # else the pipe never ends
            _listen(receiver, process, report)
        with self._lock:
            self._wanted.pop(process, None)
        return Attempt.of_exit(process.exitcode)

    def stop(self) -> None:
        with self._lock:
            children, self._wanted = self._wanted, {}
        for end in (BaseProcess.terminate, BaseProcess.kill):
            for process, future in children.items():
                if process.pid is not None and not future.done():
                    end(process)
            wait_for(children.values(), timeout=_GRACE_S)
        wait_for(children.values())

    def close(self) -> None:
        self.stop()
        self._threads.shutdown()


def _context() -> ForkServerContext | SpawnContext:
    if "forkserver" in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("forkserver")
    return multiprocessing.get_context("spawn")


def _listen(receiver: Connection, process: BaseProcess, report: ReportProgress) -> None:
    """Passes progress on until the child ends. Sleeps in the kernel in between."""
    listening = True
    while True:
        ready = wait([receiver, process.sentinel] if listening else [process.sentinel])
        if receiver in ready:
            try:
                report(receiver.recv())
                continue
            except (EOFError, OSError):
                listening = False
        if process.sentinel in ready:
            process.join()
            return


def _block_interrupts() -> None:
    """Leaves Ctrl-C, which the terminal sends to all processes, to the main thread of this one.

    Blocked, not ignored: the children that this thread starts inherit the mask.
    """
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """The same for processes started in the block. A Ctrl-C that comes inside it is delivered at its end."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _offline() -> Iterator[None]:
    """Processes started in the block never ask the hub: what they need has been fetched before.

    Nor do they import from the folder that the command was typed in, where a folder called `methods` would stand in
    the place of ours (Python 3.11 and newer).
    """
    settings = {"HF_HUB_OFFLINE": "1", "PYTHONSAFEPATH": "1"}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value
