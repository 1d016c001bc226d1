"""The worker: it does one job in a process of its own. `python -m bench.grid.worker JOB.json FOLDER [--progress]`."""

from __future__ import annotations

import json
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
from bench.grid.attempts import ALONE, failed
from bench.meters import allocator
from bench.progress import Progress, ReportProgress
from bench.records.spec import AloneJob, AnyJob, Job, ProfileJob, job_of
from bench.records.store import Record, write_profile, write_record
from bench.training.loop import DivergedError

if TYPE_CHECKING:
    from bench.run import Outcome

_REPORT_EVERY_S = 0.1
_IN_WORDS = (UserError, DivergedError, AlteredError)
"""Errors whose own message says all; a traceback would say no more."""


def perform(job: AnyJob, folder: Path, *, report: ReportProgress = lambda progress: None) -> Record | None:
    """Does a job and leaves what comes of it in a folder: `runs/` and `profiles/` as in a comparison's folder.

    It sets the malloc of this process, which therefore does nothing else.

    Returns:
        The record of a run; None of another job.
    """
    if isinstance(job, AloneJob):
        measure_alone(job, folder)
        return None
    allocator.use(job.measures.allocator if isinstance(job, Job) else job.allocator)
    quiet()
    if isinstance(job, Job):
        return work(job, folder, report=report)
    make_profile(job, folder)
    return None


def work(job: Job, out: Path, *, report: ReportProgress = lambda progress: None) -> Record:
    """Does one run and writes its record, whatever comes of it.

    What was scored is written before its costs are measured: a process that dies of that leaves its scores.

    Args:
        job: the run.
        out: the folder.
        report: takes how far the run is.

    Returns:
        The record: ok, or failed with the error.
    """
    from bench.run import execute

    spec = job.run
    began, started_at = time.perf_counter(), datetime.now(timezone.utc)

    def keep(scored: Outcome) -> None:
        write_record(out, scored.record, outputs=scored.outputs or None, gates=scored.gates, weights=scored.weights)

    try:
        outcome = execute(
            spec,
            measures=job.measures,
            first=job.first,
            command=job.command,
            side_by_side=job.side_by_side,
            report=report,
            keep=keep,
        )
    except Exception as error:
        record = failed(
            spec,
            _reason(error),
            traceback=None if isinstance(error, _IN_WORDS) else traceback.format_exc(),
            started_at=started_at,
            wall_time_s=time.perf_counter() - began if job.side_by_side == 1 else None,
        )
        write_record(out, record)
        return record
    write_record(out, outcome.record)
    return outcome.record


def _reason(error: Exception) -> str:
    """One line."""
    line = (str(error).strip() or "no message").splitlines()[0]
    return line if isinstance(error, _IN_WORDS) else f"{type(error).__name__}: {line}"


def measure_alone(job: AloneJob, folder: Path) -> None:
    """Has a meter measure a run in this process, and writes its figures, or the reasons why there are none."""
    from bench.costs.alone import answer_alone

    figures, absent = answer_alone(job.meter, job.alone_of, (job.train_shape, job.test_shape))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ALONE).write_text(json.dumps({"figures": figures, "absent": absent}), "utf-8")


def make_profile(job: ProfileJob, folder: Path) -> None:
    """Times methods against each other, and writes the profile."""
    from bench.costs.profile import profile

    write_profile(folder, profile(job.methods, job.shape, job.protocol))


def throttled(send: Callable[[Progress], None]) -> ReportProgress:
    """Passes progress on ten times a second at most, so that telling costs no time; ends of phases always."""
    last = 0.0

    def report(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _REPORT_EVERY_S or progress.done == progress.total:
            last = now
            send(progress)

    return report


def child(job: str, folder: str, pipe: Connection) -> None:
    """What a forked child runs.

    Args:
        job: what is to be done, as JSON.
        folder: where it leaves what comes of it.
        pipe: where progress goes.
    """

    def send(progress: Progress) -> None:
        try:
            pipe.send(progress)
        except BrokenPipeError:  # the parent is gone, and nobody waits for this run
            os._exit(1)

    perform(job_of(job), Path(folder), report=throttled(send))


def quiet() -> None:
    """Keeps transformers' bars and advice off the terminal that shows the grid's progress."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def main(arguments: list[str]) -> int:
    """The same for any process that can read a file.

    Args:
        arguments: the file of a job (`bench.records.spec.AnyJob`) as JSON, the folder, and perhaps `--progress`, which
            prints progress as lines that `Progress.of_line` reads.

    Returns:
        The exit code: 0; 1 for a run that failed, whose record says why; 2 for wrong arguments.
    """
    with_progress = arguments[2:] == ["--progress"]
    if len(arguments) != 2 and not with_progress:
        print("usage: python -m bench.grid.worker JOB.json OUT [--progress]", file=sys.stderr)
        return 2
    job = job_of(Path(arguments[0]).read_text("utf-8"))

    def show(progress: Progress) -> None:
        if with_progress:
            print(progress.as_line(), flush=True)

    record = perform(job, Path(arguments[1]), report=throttled(show))
    if record is None:
        return 0
    print(f"{record.asked.title}: {record.status}{f' ({record.reason})' if record.reason else ''}")
    return 0 if record.status == "ok" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
