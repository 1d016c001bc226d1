"""The runs of a plan, done by an executor: which is next, what follows it, and what is submitted again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Set
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from bench.environment import command_line
from bench.errors import UserError
from bench.grid.attempts import (
    add_alone,
    drop,
    follow_up,
    job_folder,
    lack_alone,
    refused,
    settle,
    take_over,
    unpack,
)
from bench.grid.display import Display, display
from bench.grid.executors.executor import Attempt, Executor
from bench.grid.plan import Plan, refuse_other_meanings
from bench.progress import Progress
from bench.records.spec import AloneJob, AnyJob, Job, ProfileJob, RunSpec
from bench.records.store import Record, RecordFolder, read_profiles, write_profile

MOST_SUBMISSIONS = 3
"""How often a job is submitted at most, where the place that it ran in was lost each time."""


def run_grid(todo: Plan, folder: RecordFolder, executor: Executor) -> Iterator[Record]:
    """Does the runs that are not done yet, in their order; a failed one stops nothing.

    As many are under way at once as the executor holds, or where these would share a machine, as the plan allows. Where
    the caller or an interrupt ends this early, what the jobs under way have scored is kept.

    Args:
        todo: all runs of the comparison.
        folder: its folder, which the caller has claimed.
        executor: does the jobs.

    Yields:
        The record of each run that was done now, in the order in which they ended.

    Raises:
        UserError: the folder holds a damaged record, or runs of something else that is called the same.
    """
    settle(folder)
    refuse_other_meanings(todo, folder)
    done = folder.finished(todo.measures, timed=todo.timed)
    followed = done & folder.still_alone(todo.measures)
    runs = [run for run in todo.runs if run.digest not in done or run.digest in followed]
    again = {run.digest for run in runs} - followed
    counted = {
        record.asked.seedless_digest
        for record in folder.by_digest.values()
        if record.digest not in again and _counted(record)
    }
    with display(len(runs)) as show, _ended_with(executor, folder):
        yield from _Schedule(todo, folder, executor, runs, counted, show, followed).records()


@contextmanager
def _ended_with(executor: Executor, folder: RecordFolder) -> Iterator[None]:
    """Where the block is left early, ends the jobs under way and keeps what they have scored."""
    try:
        yield
    except BaseException:
        executor.stop()
        settle(folder)
        raise


@dataclass(frozen=True)
class _UnderWay:
    """A job that was submitted.

    Attributes:
        job: a run, or what follows one.
        folder: where its files go.
        run: the run that it is, or follows.
        follows: the job and the record of the run that it follows; None of a run.
        began: seconds of the monotonic clock.
    """

    job: AnyJob
    folder: Path
    run: RunSpec
    follows: tuple[Job, Record] | None
    started_at: datetime
    began: float
    submitted: int = 1


class _Schedule:
    """What is still to be done, and what is under way."""

    def __init__(
        self,
        todo: Plan,
        folder: RecordFolder,
        executor: Executor,
        runs: list[RunSpec],
        counted: set[str],
        show: Display,
        followed_only: Set[str],
    ) -> None:
        self._todo, self._folder, self._executor, self._show = todo, folder, executor, show
        shared = executor.shares_machine
        self._at_once = min(todo.jobs, executor.capacity) if shared else executor.capacity
        self._side_by_side = self._at_once if shared else 1
        self._queue = deque(enumerate(runs, start=1))
        self._counted = counted  # settings (method, task, K) of which some seed has measured FLOPs and memory
        # Setting -> its other seeds, which wait until the one under way has measured FLOPs and memory, or failed.
        self._waiting: dict[str, list[tuple[int, RunSpec]]] = {}
        self._under_way: dict[Future[Attempt], _UnderWay] = {}
        self._command = command_line()
        self._followed_only = followed_only  # digests of runs that are done, but not what follows them

    def records(self) -> Iterator[Record]:
        """Does everything; yields each record when all that belongs to it has been done."""
        while self._queue or self._under_way:
            yield from self._fill()
            if not self._under_way:
                continue
            ended, _ = wait(self._under_way, return_when=FIRST_COMPLETED)
            for future in ended:
                record = self._landed(self._under_way.pop(future), future.result())
                if record is not None:
                    self._show.end(record)
                    yield record

    def _fill(self) -> Iterator[Record]:
        """Submits runs until as many are under way as may be; yields the records of those that no method can do."""
        while self._queue and len(self._under_way) < self._at_once:
            number, run = self._queue.popleft()
            setting = run.seedless_digest
            if setting in self._waiting and run.digest not in self._followed_only:
                self._waiting[setting].append((number, run))
                continue
            self._show.start(run, number)
            if run.digest in self._followed_only:  # it was interrupted between the run and what follows it
                job = Job(run=run, measures=self._todo.measures, command=self._command)
                ended = self._followed(job, self._folder.by_digest[run.digest])
                if ended is not None:
                    self._show.end(ended)
                    yield ended
                continue
            if run.digest in self._todo.unsupported:
                record = refused(run, self._todo.unsupported[run.digest])
                self._folder.write(record)
                self._show.end(record)
                yield record
                continue
            first = setting not in self._counted
            if first:
                self._waiting[setting] = []
            job = Job(
                run=run,
                measures=self._todo.measures,
                first=first,
                command=self._command,
                side_by_side=self._side_by_side,
            )
            self._submit(job, run)

    def _submit(self, job: AnyJob, run: RunSpec, follows: tuple[Job, Record] | None = None, submitted: int = 1) -> None:
        place = job_folder(self._folder)
        began, started_at = time.monotonic(), datetime.now(timezone.utc)
        report = partial(self._show.update, run) if isinstance(job, Job) else _unheard
        future = self._executor.submit(job, place, report)
        self._under_way[future] = _UnderWay(job, place, run, follows, started_at, began, submitted)

    def _landed(self, ended: _UnderWay, attempt: Attempt) -> Record | None:
        """Takes over what a job left; gives the record of its run once nothing more follows."""
        if attempt.lost and ended.submitted < MOST_SUBMISSIONS:
            drop(ended.folder)
            self._submit(ended.job, ended.run, ended.follows, ended.submitted + 1)
            return None
        unpack(attempt, ended.folder)
        if ended.follows is not None:
            assert isinstance(ended.job, AloneJob)
            first, record = ended.follows
            record = add_alone(self._folder, record, ended.job, ended.folder)
            drop(ended.folder)
            return self._followed(first, record)
        assert isinstance(ended.job, Job)
        record = take_over(
            self._folder,
            ended.job,
            attempt,
            ended.folder,
            started_at=ended.started_at,
            wall_time_s=time.monotonic() - ended.began if self._side_by_side == 1 else None,
            submitted=ended.submitted,
        )
        drop(ended.folder)
        self._release(ended.job, record)
        return self._followed(ended.job, record)

    def _release(self, job: Job, record: Record) -> None:
        """Lets the other seeds of a run's setting go on."""
        setting = job.run.seedless_digest
        if _counted(record):
            self._counted.add(setting)
        if job.first:
            self._queue.extendleft(reversed(self._waiting.pop(setting)))

    def _followed(self, job: Job, record: Record) -> Record | None:
        """Submits what follows a run; gives the record once nothing does."""
        while (following := follow_up(job, record)) is not None:
            reason = self._executor.unsuited(following)
            if reason is None:
                self._submit(following, job.run, (job, record))
                return None
            record = lack_alone(self._folder, record, following, reason)
        return record


def _unheard(progress: Progress) -> None:
    """Takes progress that nobody is shown."""


def _counted(record: Record) -> bool:
    costs = None if record.result is None else record.result.costs
    return costs is not None and costs.counted and record.complete


def run_profile(job: ProfileJob, folder: RecordFolder, executor: Executor) -> None:
    """Has a profile made and writes it into the comparison's folder.

    Raises:
        UserError: the executor makes none, or the worker ended without one; its own message stands above.
    """
    reason = executor.unsuited(job)
    if reason is not None:
        raise UserError(f"there is no profile: {reason}; --no-profile leaves it out")
    place = job_folder(folder)
    try:
        with _ended_with(executor, folder):
            attempt = executor.submit(job, place, _unheard).result()
        unpack(attempt, place)
        profiles = read_profiles(place)
        for profile in profiles.values():
            write_profile(folder.out, profile)
    finally:
        drop(place)
    if not profiles:
        raise UserError(f"the profile failed: {attempt.ended}; --no-profile leaves it out")


def refuse_unsuited(todo: Plan, executor: Executor) -> None:
    """Refuses a plan with a run that the executor cannot do. It is asked about each method on each task once.

    Raises:
        UserError: the first such run, with the executor's reason.
    """
    pairs = {(run.method.label, run.task.label): run for run in reversed(todo.runs)}
    for run in reversed(pairs.values()):
        reason = executor.unsuited(Job(run=run, measures=todo.measures))
        if reason is not None:
            raise UserError(f"--on {executor.name} cannot do {run.title}: {reason}")
