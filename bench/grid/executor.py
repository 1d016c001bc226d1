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
from bench.records.record import COUNTED
from bench.records.spec import Job, Measures, ProfileJob
from bench.records.store import (
    Costs,
    Record,
    clear_temporary,
    drop_aside,
    put_back,
    read_record,
    record_path,
    set_aside,
    write_record,
)

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

        A record of the run that is there is replaced by one that has more. Where this attempt comes to less, the
        earlier record stays, with the reason why the figures asked for now are absent.

        Args:
            job: what is asked.
            out: the comparison's folder.
            report: is told how far the run is.

        Returns:
            The record that the child wrote, or one that says how the child died, also where an earlier one stays.
        """
        from bench.grid import worker  # imports torch: not before the server has been started

        began, started_at = time.perf_counter(), datetime.now(timezone.utc)
        digest = job.run.digest
        earlier = set_aside(out, digest)
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
                put_back(out, digest)
                raise
        attempt = _left_by(process, out, digest)
        if attempt is None:
            attempt = worker.failed(
                job.run,
                death(process.exitcode),
                traceback=None,
                started_at=started_at,
                wall_time_s=time.perf_counter() - began,
            )
        if earlier is not None and _comes_to_less(attempt, earlier):
            put_back(out, digest)
            write_record(out, _noted(earlier, attempt, job.measures))
            stays = f"{attempt.reason}; the scores of an earlier run of it stay"
            return attempt.model_copy(update={"status": "failed", "reason": stays, "result": None})
        write_record(out, attempt)
        drop_aside(out, digest)
        return self._with_costs_alone(attempt, job, out)

    def _with_costs_alone(self, record: Record, job: Job, out: Path) -> Record:
        """Adds what meters measure in a process of its own, such as the resident peak under a tuned malloc."""
        from bench.costs.alone import shapes_of, still_alone

        for name, keys in still_alone(record, job).items():
            receiver, sender = self._context.Pipe(duplex=False)
            process = self._context.Process(
                target=worker_alone, args=(name, job.model_dump_json(), shapes_of(record), sender), daemon=True
            )
            with receiver, sender:
                try:
                    with _without_interrupts():
                        process.start()
                    sender.close()
                    figures, absent = receiver.recv()
                except EOFError:
                    figures, absent = {}, dict.fromkeys(keys, "the child that measures it died")
                except BaseException:
                    _end(process)
                    raise
                process.join()
            if record.result is not None and record.result.costs is not None:
                costs = record.result.costs.with_answer(figures, absent)
                record = record.model_copy(update={"result": record.result.model_copy(update={"costs": costs})})
                write_record(out, record)
        return record

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


def worker_alone(name: str, job: str, shapes: tuple[tuple[int, int], tuple[int, int]], pipe: Connection) -> None:
    """What a forked child runs to have one meter measure in a process of its own."""
    from bench.costs.alone import answer_alone

    pipe.send(answer_alone(name, Job.model_validate_json(job).run, shapes))


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


def _left_by(process: ForkServerProcess | SpawnProcess, out: Path, digest: str) -> Record | None:
    """The record that a child wrote before it ended; one that died after it was scored says how."""
    clear_temporary(out)
    path = record_path(out, digest)
    if not path.exists():
        return None
    record = read_record(path)
    return record if record.complete else record.model_copy(update={"reason": death(process.exitcode)})


def _comes_to_less(attempt: Record, earlier: Record) -> bool:
    """Whether a new attempt at a run lacks what the earlier one has: a result, or costs measured to the end."""
    if earlier.result is None:
        return False
    measured = earlier.complete and earlier.result.costs is not None
    return attempt.result is None or (measured and not attempt.complete)


def _noted(earlier: Record, attempt: Record, asked: Measures) -> Record:
    """The earlier record of a run, with the reason why it lacks what a failed attempt was to measure.

    What it has stands. Where it has no costs and they were asked for it is not complete, so that the next command that
    asks for them tries again; whatever else it lacks is missed by every command that asks for it.
    """
    if earlier.result is None:
        return earlier
    why = f"measured anew in vain: {attempt.reason}"
    result, costs, complete = earlier.result, earlier.result.costs, earlier.complete
    if costs is None and asked.costs:
        costs, complete = Costs(absent=dict.fromkeys(("stored_bytes", *COUNTED), why)), False
    elif costs is not None and not complete:
        lacking = {name: why for name in costs.absent if name in COUNTED}
        costs = costs.model_copy(update={"absent": costs.absent | lacking})
    if costs is not None and asked.effective and result.effective is None:
        costs = costs.model_copy(update={"absent": costs.absent | {"effective": why}})
    return earlier.model_copy(
        update={
            "result": result.model_copy(update={"costs": costs}),
            "complete": complete,
            "reason": why,
            "traceback": attempt.traceback,
        }
    )


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


def death(exit_code: int | None) -> str:
    """In words, how a child ended that left no record."""
    if exit_code is None or exit_code >= 0:
        return f"the process ended with exit code {exit_code} and left no record"
    name = f"signal {-exit_code}"
    with suppress(ValueError):
        name = signal.Signals(-exit_code).name
    hint = ", probably for want of memory" if name == "SIGKILL" and sys.platform == "linux" else ""
    return f"the process was killed by {name}{hint}"
