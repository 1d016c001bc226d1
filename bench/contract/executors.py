"""The contract of an executor as a suite: what `bench compare --on` relies on, tried with small real runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import TimeoutError as TooLate
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from bench.contract.contract import BrokenPromiseError
from bench.errors import UserError
from bench.grid.attempts import unpack
from bench.grid.executors.executor import Attempt, Executor
from bench.grid.plan import Plan
from bench.grid.schedule import run_grid, run_profile
from bench.progress import Progress
from bench.records.record import Record
from bench.records.spec import AloneJob, Job, Measures, ModelSpec, ProfileJob, ProfileShape, Protocol, RunSpec
from bench.records.store import RecordFolder, read_profiles, read_record, record_path, runs_folder
from bench.registry.executors import DEFAULT, make_executor
from bench.registry.methods import resolve_method
from bench.registry.tasks import resolve_task

if TYPE_CHECKING:
    import numpy as np

MOST_SECONDS = 300
"""After so many seconds a small job counts as lost."""

SCORES = Measures(costs=False, energy=False, effective=False, resident=False, profile=False, weights="all")

METHOD = '''\
import os, signal, time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from bench import Method

@dataclass(frozen=True, kw_only=True)
class Trial(Method):
    """Trains the biases of a model, and comes to an end that its field `end` names."""

    name: ClassVar[str] = "trial"
    thaws: ClassVar[bool] = True
    end: str = "well"

    def adapt(self, model):
        if self.end == "raises":
            raise RuntimeError("it was to raise")
        if self.end == "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.end == "sleeps":
            (Path(__file__).parent / "pid.txt").write_text(str(os.getpid()))
            time.sleep(600)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.endswith("bias"))

    def idle(self, model, pretrained, run):
        if self.end == "is killed when scored":
            os.kill(os.getpid(), signal.SIGKILL)
        return {}
'''
"""A method as an author writes one, in a file."""


@dataclass(frozen=True)
class ExecutorFinding:
    """The result of the check of one promise.

    Attributes:
        check: name of the promise.
        status: `refused` where the executor says that it does no such job.
        says: what failed and what it means, or the reason of the refusal; empty if kept.
    """

    check: str
    status: Literal["kept", "broken", "refused"]
    says: str = ""


@dataclass(frozen=True)
class ExecutorUnderTest:
    """An executor under test.

    Attributes:
        executor: under test.
        reference: the one that comes along, whose runs are right.
        place: a folder for what the checks write.
    """

    executor: Executor
    reference: Executor
    place: Path

    def spec(self, end: str = "well", *, seed: int = 0) -> RunSpec:
        """A run of a few steps, of a method in a file, which comes to such an end.

        Raises:
            _RefusedError: the executor does no such run.
        """
        file = self.place / "trial.py"
        file.write_text(METHOD, "utf-8")
        spec = RunSpec(
            method=resolve_method(f'{file}:Trial[end="{end}"]').spec,
            task=resolve_task("synthetic").spec,
            model=ModelSpec(name="tiny", revision="seed 0"),
            k=16,
            data_seed=seed,
            model_seed=seed,
            protocol=Protocol(dev=8, epochs=2, batch_size=8, max_length=32, head="mean", threads=1),
        )
        _refuse(self.executor.unsuited(Job(run=spec, measures=SCORES)))
        return spec

    def run(self, spec: RunSpec, out: Path, *, measures: Measures = SCORES, by: Executor | None = None) -> Record:
        """Lets an executor do a run as `bench compare` does, and returns its record."""
        (record,) = run_grid(Plan([spec], {}, measures), RecordFolder(out), by or self.executor)
        return record

    def folder(self, name: str) -> Path:
        """An empty folder."""
        path = self.place / name
        path.mkdir()
        return path


class _RefusedError(Exception):
    """The executor says that it does no such job."""


def _refuse(reason: str | None) -> None:
    if reason is not None:
        raise _RefusedError(reason)


def _require(kept: bool, says: str) -> None:
    if not kept:
        raise BrokenPromiseError(says)


def a_run_is_the_same_as_here(trial: ExecutorUnderTest) -> None:
    """Scores, outputs and weights are those of the executor that comes along, to the digit."""
    spec = trial.spec()
    here, there = trial.folder("here"), trial.folder("there")
    expected, record = trial.run(spec, here, by=trial.reference), trial.run(spec, there)
    _require(record.status == "ok", f"a run of a few steps ended as {record.status}: {record.reason}")
    for name, value in _figures(expected).items():
        got = _figures(record).get(name)
        _require(got == value, f"{name} is {got!r} where a process of this machine gives {value!r}")
    _require(_arrays(there, spec) == _arrays(here, spec), "the outputs or weights differ from those made here")
    left = sorted(path.name for path in there.iterdir())
    _require(left == ["runs"], f"it left {', '.join(left)} in the comparison's folder, where runs alone belongs")


def _figures(record: Record) -> dict[str, object]:
    """The parts of a record that must be equal wherever the run is done: everything but the times."""
    result = {} if record.result is None else record.result.model_dump(exclude={"train_time_s", "infer_time_s"})
    return {"asked": record.asked, "status": record.status, "complete": record.complete, **result}


def _arrays(out: Path, spec: RunSpec) -> dict[str, tuple[str, bytes]]:
    """Outputs and weights of a run, as comparable values."""
    import numpy as np
    from safetensors.numpy import load_file

    path = record_path(out, spec.digest)
    arrays: dict[str, np.ndarray] = load_file(path.with_suffix(".safetensors"))
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as outputs:
        arrays |= dict(outputs)
    return {name: (f"{array.dtype}{array.shape}", array.tobytes()) for name, array in arrays.items()}


def a_run_that_fails_is_a_record(trial: ExecutorUnderTest) -> None:
    """A run that raises, and one whose process is killed, are records."""
    out = trial.folder("failing")
    for end, words in (("raises", "it was to raise"), ("is killed", "SIGKILL")):
        spec = trial.spec(end)
        record = trial.run(spec, out)
        _require(record.status == "failed", f"a run that {end} is recorded as {record.status}")
        _require(words in (record.reason or ""), f"a run that {end} is recorded as failed for {record.reason!r}")
        _require(read_record(record_path(out, spec.digest)) == record, f"a run that {end} left another record")


def what_was_scored_is_kept(trial: ExecutorUnderTest) -> None:
    """A process that is killed while its costs are measured leaves its scores."""
    spec = trial.spec("is killed when scored")
    measures = SCORES.model_copy(update={"effective": True})
    record = trial.run(spec, trial.folder("scored"), measures=measures)
    _require(
        record.status == "ok" and not record.complete and record.result is not None,
        f"killed after it was scored, a run is recorded as {record.status} ({record.reason}): hand over what lies in "
        "the job's folder where a process dies too",
    )
    _require("SIGKILL" in (record.reason or ""), f"its record says {record.reason!r}, not how the process ended")


def it_holds_as_many_jobs_as_it_says(trial: ExecutorUnderTest) -> None:
    """As many jobs as its capacity (here at most two) are taken at once; each leaves its own record and progress."""
    capacity = trial.executor.capacity
    _require(capacity >= 1, f"its capacity is {capacity}")
    jobs = [Job(run=trial.spec(seed=seed), measures=SCORES) for seed in range(min(capacity, 2))]
    folders = [trial.folder(f"capacity{seed}") for seed in range(len(jobs))]
    reports: list[list[Progress]] = [[] for _ in jobs]
    submitted = [
        trial.executor.submit(job, folder, report.append)
        for job, folder, report in zip(jobs, folders, reports, strict=True)
    ]
    for job, folder, report, future in zip(jobs, folders, reports, submitted, strict=True):
        unpack(_waited(future.result), folder)
        left = [path.stem for path in runs_folder(folder).glob("*.json")]
        _require(left == [job.run.digest], f"the folder of the job {job.run.digest} holds the records {left}")
        _require(bool(report), "no progress was reported; the comparison's bars would stand still")
        last = report[-1]
        _require(last.done == last.total, f"the last progress reported was step {last.done} of {last.total}")


def stop_ends_what_is_under_way(trial: ExecutorUnderTest) -> None:
    """`stop` ends the processes of the jobs under way, their futures end too, and the executor goes on after it."""
    pid = trial.place / "pid.txt"
    pid.unlink(missing_ok=True)
    job = Job(run=trial.spec("sleeps"), measures=SCORES)
    future = trial.executor.submit(job, trial.folder("stopped"), lambda _: None)
    with suppress(TooLate):  # elsewhere the file may never be seen here
        _waited(lambda seconds: _until(lambda: bool(pid.exists() and pid.read_text()), seconds), 60)
    trial.executor.stop()
    _require(future.done(), "stop returned while a job was under way")
    if pid.exists():
        _require(not _alive(int(pid.read_text())), "stop left the process of a job alive")
    record = trial.run(trial.spec(), trial.folder("after a stop"))
    _require(record.status == "ok", f"after stop the next run ended as {record.status}: {record.reason}")


def an_interrupt_loses_nothing(trial: ExecutorUnderTest) -> None:
    """A comparison that is left early keeps the earlier record of a run that was under way."""
    out = trial.folder("interrupted")
    spec = trial.spec("well")
    good = trial.run(spec, out, by=trial.reference)
    slow = trial.spec("sleeps")
    folder = RecordFolder(out)
    folder.write(good.model_copy(update={"digest": slow.digest, "asked": slow}))
    runs = run_grid(Plan([slow], {}, SCORES.model_copy(update={"costs": True})), folder, _Interrupted(trial.executor))
    with suppress(KeyboardInterrupt):
        next(runs)
    kept = RecordFolder(out).by_digest
    _require(kept.get(slow.digest) == folder.by_digest[slow.digest], "an interrupt changed the earlier record")
    _require(kept.get(spec.digest) == good, "an interrupt changed the record of another run")
    _require(not (out / ".attempts").exists(), "an interrupt left the job's folder behind")


class _Interrupted(Executor):
    """Another executor whose user presses Ctrl-C after the first submission."""

    name = "interrupted"

    def __init__(self, inner: Executor) -> None:
        self._inner = inner

    def submit(self, *arguments: object) -> object:  # type: ignore[override]
        self._inner.submit(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    def stop(self) -> None:
        self._inner.stop()


def the_resident_peak_is_measured(trial: ExecutorUnderTest) -> None:
    """The job that measures it after a run leaves a figure, or the reason why there is none."""
    spec = trial.spec()
    job = AloneJob(meter="resident", alone_of=spec, train_shape=(8, 16), test_shape=(8, 16))
    _refuse(trial.executor.unsuited(job))
    measures = SCORES.model_copy(update={"costs": True, "resident": True})
    record = trial.run(spec, trial.folder("resident"), measures=measures)
    expected = trial.run(spec, trial.folder("resident here"), measures=measures, by=trial.reference)
    reasons = []
    for one in (record, expected):
        _require(one.result is not None and one.result.costs is not None, f"no costs were measured: {one.reason}")
        assert one.result is not None
        assert one.result.costs is not None
        reasons.append(one.result.costs.absent.get("resident_peak_bytes"))
    _require(reasons[0] == reasons[1], f"the resident peak is absent: {reasons[0]}")


def a_profile_is_made(trial: ExecutorUnderTest) -> None:
    """The job that times methods against each other leaves a profile."""
    method = resolve_method("head").spec
    shape = ProfileShape(model="tiny", batch=2, tokens=8, rounds=2)
    job = ProfileJob(methods=(method,), shape=shape, protocol=Protocol(threads=1))
    _refuse(trial.executor.unsuited(job))
    out = trial.folder("profile")
    try:
        run_profile(job, RecordFolder(out), trial.executor)
    except UserError as error:
        raise BrokenPromiseError(str(error)) from error
    _require(len(read_profiles(out)) == 1, "there is no profile in the comparison's folder")


PROMISES: tuple[Callable[[ExecutorUnderTest], None], ...] = (
    a_run_is_the_same_as_here,
    a_run_that_fails_is_a_record,
    what_was_scored_is_kept,
    it_holds_as_many_jobs_as_it_says,
    stop_ends_what_is_under_way,
    an_interrupt_loses_nothing,
    the_resident_peak_is_measured,
    a_profile_is_made,
)
"""What every executor promises."""


def _waited(result: Callable[[float], Attempt | None], seconds: float = MOST_SECONDS) -> Attempt:
    """The result of a future; a future that has none in time breaks the promise."""
    try:
        attempt = result(seconds)
    except TooLate as error:
        raise BrokenPromiseError(f"a job of a few seconds had not ended after {seconds} s") from error
    return attempt or Attempt("")


def _until(done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise TooLate
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def check_executor(text: str) -> list[ExecutorFinding]:
    """Checks what every executor promises, with runs of a few seconds. It takes about a minute.

    Args:
        text: as `bench compare --on` takes it: a name, `NAME:ADDRESS`, or `file.py:Class`.

    Returns:
        A finding for each promise: `kept`, `broken` with what failed, or `refused` with the executor's reason.

    Raises:
        UserError: there is no such executor.
    """
    with ExitStack() as stack:
        executor = stack.enter_context(make_executor(text))
        reference = executor if text == DEFAULT else stack.enter_context(make_executor(DEFAULT))
        return list(_findings(executor, reference))


def _findings(executor: Executor, reference: Executor) -> Iterator[ExecutorFinding]:
    for promise in PROMISES:
        with TemporaryDirectory() as place:
            try:
                promise(ExecutorUnderTest(executor, reference, Path(place)))
            except BrokenPromiseError as error:
                yield ExecutorFinding(promise.__name__, "broken", str(error))
            except _RefusedError as error:
                yield ExecutorFinding(promise.__name__, "refused", str(error))
            else:
                yield ExecutorFinding(promise.__name__, "kept")
