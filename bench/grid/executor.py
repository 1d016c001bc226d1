"""Runs one specification in a fresh child of a preloaded fork server, and survives the child's death."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnContext, SpawnProcess
from pathlib import Path

from bench.errors import UserError
from bench.progress import Report
from bench.records.spec import Job, ProfileJob, RunSpec
from bench.records.store import Record, clear_temporary, read_record, record_path, write_record

_PRELOAD = ["bench.grid.warm"]
_GRACE_S = 5.0
"""How long a child may take to end when asked to."""


class LocalExecutor:
    """Children of this machine, one at a time. Start it early: the server's imports take seconds."""

    def __init__(self) -> None:
        self._context = _context()
        if isinstance(self._context, ForkServerContext):
            from multiprocessing import forkserver

            self._context.set_forkserver_preload(_PRELOAD)
            with _without_interrupts(), _offline():
                forkserver.ensure_running()

    def run(self, job: Job, out: Path, *, report: Report = lambda progress: None) -> Record:
        """Does one run; blocks without turning until it ends.

        Args:
            job: what is asked.
            out: the comparison's folder.
            report: is told how far the run is.

        Returns:
            The record that the child wrote, or one that says how the child died.
        """
        from bench.grid import worker  # imports torch: not before the server has been started

        began, started_at = time.perf_counter(), datetime.now(timezone.utc)
        spec = job.run
        path = record_path(out, spec.digest)
        earlier = path.with_suffix(".earlier")  # kept until this attempt has come to its end
        if path.exists():
            path.replace(earlier)
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=worker.child, args=(job.model_dump_json(), str(out), sender), daemon=True
        )
        with receiver, sender:
            try:
                with _without_interrupts():
                    process.start()
                sender.close()
                _listen(receiver, process, report)
            except BaseException:
                _end(process)
                clear_temporary(out)
                if earlier.exists():
                    earlier.replace(path)
                raise
        earlier.unlink(missing_ok=True)
        if path.exists():
            record = read_record(path)
            if not record.complete:  # it died while its costs were measured, after it was scored
                record = record.model_copy(update={"reason": death(process.exitcode)})
                clear_temporary(out)
                write_record(out, record)
            return self._with_resident(record, job, out)
        clear_temporary(out)
        record = worker.failed(
            spec,
            death(process.exitcode),
            traceback=None,
            started_at=started_at,
            wall_time_s=time.perf_counter() - began,
        )
        write_record(out, record)
        return record

    def _with_resident(self, record: Record, job: Job, out: Path) -> Record:
        """Adds the resident peak, from a child of its own with tuned malloc, at a comparison's first seed.

        A tuned malloc gives freed blocks back at once, which makes the peak repeatable and the steps slow: so it
        is no business of the run that is timed.
        """
        costs = None if record.result is None else record.result.costs
        if record.result is None or costs is None or not (job.first and job.measures.costs and job.measures.resident):
            return record
        receiver, sender = self._context.Pipe(duplex=False)
        shape = (record.result.train_shape or (1, 1), record.result.test_shape or (1, 1))
        process = self._context.Process(
            target=worker_resident, args=(job.run.model_dump_json(), shape, sender), daemon=True
        )
        with receiver, sender:
            try:
                with _without_interrupts():
                    process.start()
                sender.close()
                peak, reason = receiver.recv()
            except EOFError:
                peak, reason = None, "the child that measures it died"
            except BaseException:
                _end(process)
                raise
            process.join()
        absent = {name: why for name, why in costs.absent.items() if name != "resident_peak_bytes"}
        if peak is None:
            absent["resident_peak_bytes"] = reason
        updated = costs.model_copy(update={"resident_peak_bytes": peak, "absent": absent})
        found = record.model_copy(update={"result": record.result.model_copy(update={"costs": updated})})
        write_record(out, found)
        return found

    def profile(self, job: ProfileJob, out: Path) -> None:
        """Makes a model's profile in a fresh child.

        Raises:
            UserError: the child ended without writing it; its own message stands above.
        """
        from bench.grid import worker

        process = self._context.Process(
            target=worker.profile_child, args=(job.model_dump_json(), str(out)), daemon=True
        )
        try:
            with _without_interrupts():
                process.start()
            process.join()
        except BaseException:
            _end(process)
            raise
        if process.exitcode:
            raise UserError(f"the profile failed: {death(process.exitcode)}; --no-profile leaves it out")


def worker_resident(run: str, shapes: tuple[tuple[int, int], tuple[int, int]], pipe: Connection) -> None:
    """What a forked child runs to measure the resident peak of a run's largest batches."""
    from bench.meters.resident import tune_malloc

    tuned = tune_malloc()  # first of all: blocks handed out before stay as they are
    from bench.costs.memory import resident_peak
    from bench.grid.worker import quiet

    quiet()
    if not tuned.tuned:
        pipe.send((None, tuned.reason))
        return
    figures = resident_peak(RunSpec.model_validate_json(run), *shapes)
    pipe.send((figures.peak_bytes, figures.reason or "unknown"))


def _context() -> ForkServerContext | SpawnContext:
    if "forkserver" in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("forkserver")
    return multiprocessing.get_context("spawn")


def _listen(receiver: Connection, process: ForkServerProcess | SpawnProcess, report: Report) -> None:
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


def _end(process: ForkServerProcess | SpawnProcess) -> None:
    if process.pid is None:  # never started
        return
    process.terminate()
    process.join(_GRACE_S)
    if process.is_alive():
        process.kill()
        process.join()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes started in the block leave Ctrl-C, which the terminal sends to all, to this one.

    Blocked, not ignored: one that comes inside the block is delivered at its end, and the children inherit
    the mask.
    """
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
    """Processes started in the block never ask the hub: what they need has been fetched before."""
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    try:
        yield
    finally:
        del os.environ["HF_HUB_OFFLINE"]
        if before is not None:
            os.environ["HF_HUB_OFFLINE"] = before


def death(exit_code: int | None) -> str:
    """In words, how a child ended that left no record."""
    if exit_code is None or exit_code >= 0:
        return f"the process ended with exit code {exit_code} and left no record"
    name = f"signal {-exit_code}"
    with suppress(ValueError):
        name = signal.Signals(-exit_code).name
    hint = ", probably for want of memory" if name == "SIGKILL" and sys.platform == "linux" else ""
    return f"the process was killed by {name}{hint}"
