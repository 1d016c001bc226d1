"""The worker: a run in a process of its own. `python -m bench.grid.worker JOB OUT`."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from datetime import datetime, timezone
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import AlteredError, UserError
from bench.meters import allocator
from bench.progress import Progress, Report
from bench.records.spec import Job, ProfileJob, RunSpec
from bench.records.store import Record, write_record
from bench.training.loop import DivergedError

if TYPE_CHECKING:
    from bench.run import Outcome

_REPORT_EVERY_S = 0.1
_IN_WORDS = (UserError, DivergedError, AlteredError)
"""Errors whose own message says all; a traceback would say no more."""


def work(job: Job, out: Path, *, report: Report = lambda progress: None) -> Record:
    """Does one run and writes its record, whatever comes of it.

    What was scored is written before its costs are measured: a process that dies of that leaves its scores.

    Returns:
        The record: ok, or failed with the error.
    """
    from bench.run import execute

    spec = job.run
    began, started_at = time.perf_counter(), datetime.now(timezone.utc)

    def keep(scored: Outcome) -> None:
        write_record(out, scored.record, outputs=scored.outputs, gates=scored.gates, weights=scored.weights)

    try:
        outcome = execute(spec, measures=job.measures, first=job.first, command=job.command, report=report, keep=keep)
    except Exception as error:
        record = failed(
            spec,
            _reason(error),
            traceback=None if isinstance(error, _IN_WORDS) else traceback.format_exc(),
            started_at=started_at,
            wall_time_s=time.perf_counter() - began,
        )
        write_record(out, record)
        return record
    write_record(out, outcome.record)
    return outcome.record


def _reason(error: Exception) -> str:
    """One line."""
    line = (str(error).strip() or "no message").splitlines()[0]
    return line if isinstance(error, _IN_WORDS) else f"{type(error).__name__}: {line}"


def failed(spec: RunSpec, reason: str, *, traceback: str | None, started_at: datetime, wall_time_s: float) -> Record:
    """The record of a run that came to nothing."""
    from bench.environment import versions

    return Record(
        digest=spec.digest,
        status="failed",
        reason=reason,
        traceback=traceback,
        asked=spec,
        environment={"versions": versions()},
        started_at=started_at.isoformat(timespec="seconds"),
        wall_time_s=wall_time_s,
    )


def throttled(send: Callable[[Progress], None]) -> Report:
    """Passes progress on ten times a second at most, so that telling costs no time; ends of phases always."""
    last = 0.0

    def report(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _REPORT_EVERY_S or progress.done == progress.total:
            last = now
            send(progress)

    return report


def child(job: str, out: str, pipe: Connection) -> None:
    """What a forked child runs.

    Args:
        job: what is asked, as JSON.
        out: the comparison's folder.
        pipe: where progress goes.
    """
    asked = Job.model_validate_json(job)
    allocator.use(asked.measures.allocator)
    quiet()

    def send(progress: Progress) -> None:
        try:
            pipe.send(progress)
        except BrokenPipeError:  # the parent is gone, and nobody waits for this run
            os._exit(1)

    work(asked, Path(out), report=throttled(send))


def profile_child(job: str, out: str) -> None:
    """What a forked child runs to profile a model; `job` is a `ProfileJob` as JSON."""
    asked = ProfileJob.model_validate_json(job)
    allocator.use(asked.allocator)
    from bench.costs.profile import profile
    from bench.records.store import write_profile

    quiet()
    write_profile(Path(out), profile(asked.methods, asked.shape, asked.protocol))


def quiet() -> None:
    """Keeps transformers' bars and advice off the terminal that shows the grid's progress."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def main(arguments: list[str]) -> int:
    """The same for any process that can read a file: `JOB` holds a `bench.records.spec.Job` as JSON."""
    if len(arguments) != 2:
        print("usage: python -m bench.grid.worker JOB.json OUT", file=sys.stderr)
        return 2
    file, out = arguments
    job = Job.model_validate_json(Path(file).read_text("utf-8"))
    allocator.use(job.measures.allocator)
    quiet()
    record = work(job, Path(out))
    print(f"{record.asked.title}: {record.status}{f' ({record.reason})' if record.reason else ''}")
    return 0 if record.status == "ok" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
