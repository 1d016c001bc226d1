"""What the grid submits and when: several jobs at once, what waits for what, and jobs whose place was lost."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UserError
from bench.grid.attempts import ALONE
from bench.grid.executors import local
from bench.grid.executors.executor import Attempt
from bench.grid.plan import Plan, plan
from bench.grid.request import requests_of
from bench.grid.schedule import MOST_SUBMISSIONS, refuse_unsuited
from bench.progress import ReportProgress
from bench.records import spec, store
from bench.records.record import STILL_ALONE
from bench.records.spec import AloneJob, AnyJob, Job, Measures, RunSpec
from bench.records.store import Costs, Record, read_records, record_path, write_record
from tests.bench.grid.test_plan import FakeExecutor, ended, go, made_up_record, request
from tests.conftest import NoExecutor, bench


class Slow(FakeExecutor):
    """Holds three jobs, which end only when it is full or nothing more comes: the last submitted first."""

    capacity = fills_at = 3  # type: ignore[assignment]
    shares_machine = False

    def __init__(self, *failing: str, most: int) -> None:
        super().__init__(*failing)
        self.left, self.under_way, self.at_once = most, [], 0  # type: ignore[var-annotated]
        self.first: list[tuple[str, bool]] = []

    def submit(self, job: AnyJob, folder: Path, report: ReportProgress) -> Future[Attempt]:
        super().submit(job, folder, report)
        assert isinstance(job, Job)
        self.first.append((job.run.title, job.first))
        future: Future[Attempt] = Future()
        self.under_way.append(future)
        self.at_once = max(self.at_once, len(self.under_way))
        self.left -= 1
        if len(self.under_way) == self.fills_at or not self.left:
            for other in reversed(self.under_way):
                other.set_result(Attempt.of_exit(0))
            self.under_way = []
        return future

    def record(self, job: Job) -> Record:
        record = super().record(job)
        if record.result is None:
            return record
        costs = Costs(figures={"infer_flops": 0} if job.first else {})
        return record.model_copy(update={"result": record.result.model_copy(update={"costs": costs})})


def test_as_many_runs_are_under_way_as_the_executor_holds(tmp_path: Path) -> None:
    todo = plan(request(methods=("head", "lora", "full"), data_seeds=(0, 1), model_seeds=(0, 1)))
    executor = Slow(most=6)
    records = go(todo, tmp_path, executor)
    assert executor.at_once == 3
    assert (
        {record.digest for record in records}
        == {run.digest for run in todo.runs}
        == {record.digest for record in read_records(tmp_path)}
    )
    assert [first for _, first in executor.first] == [True] * 3 + [False] * 3
    assert not (tmp_path / ".attempts").exists()


@pytest.mark.parametrize(("jobs", "at_once"), [(1, 1), (2, 2), (9, 3)])
def test_runs_that_share_a_machine_are_made_side_by_side_only_where_their_times_are_not_wanted(
    jobs: int, at_once: int, tmp_path: Path
) -> None:
    class Shared(Slow):
        shares_machine, fills_at = True, at_once

        def submit(self, job: AnyJob, folder: Path, report: ReportProgress) -> Future[Attempt]:
            assert isinstance(job, Job)
            assert job.side_by_side == at_once
            return super().submit(job, folder, report)

    executor = Shared(most=6)
    todo = plan(request(methods=("head", "lora", "full"), jobs=jobs))
    assert len(go(todo, tmp_path, executor)) == 6
    assert executor.at_once == at_once


def test_other_seeds_wait_until_one_has_measured_the_costs_or_failed(tmp_path: Path) -> None:
    """With one method, the second seed may not begin before it is clear whether the first has measured them."""

    class OneByOne(Slow):
        def submit(self, job: AnyJob, folder: Path, report: ReportProgress) -> Future[Attempt]:
            self.fills_at = 1 + len(self.under_way)  # whatever is submitted ends at once
            return super().submit(job, folder, report)

    todo = plan(request(methods=("lora",), data_seeds=(0, 1, 2), model_seeds=(0, 1, 2)))
    executor = OneByOne(most=99)
    assert len(go(todo, tmp_path / "well", executor)) == 3
    assert [first for _, first in executor.first] == [True, False, False]
    executor = OneByOne("lora", most=99)
    assert len(go(todo, tmp_path / "failing", executor)) == 3
    assert [first for _, first in executor.first] == [True, True, True]


class Losing(FakeExecutor):
    """Loses the place of a job so many times; sends what it left as bytes, as from another machine."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def submit(self, job: AnyJob, folder: Path, report: ReportProgress) -> Future[Attempt]:
        assert isinstance(job, Job)
        self.asked.append(job.run.title)
        if len(self.asked) <= self.times:
            return ended(Attempt("the node went away", lost=True))
        text = self.record(job).as_json()
        files = {f"runs/{job.run.digest}.json": text.encode(), f"runs/{job.run.digest}.safetensors": b"weights"}
        return ended(Attempt.of_exit(0, files))


@pytest.mark.parametrize("times", [0, 2, 3])
def test_a_job_whose_place_was_lost_is_submitted_again_and_the_record_says_so(times: int, tmp_path: Path) -> None:
    todo = plan(request(methods=("lora",), data_seeds=(0,), model_seeds=(0,)))
    executor = Losing(times)
    (record,) = go(todo, tmp_path, executor)
    assert len(executor.asked) == min(times + 1, MOST_SUBMISSIONS)
    assert record.environment.get("submitted") == (len(executor.asked) if times else None)
    if times < MOST_SUBMISSIONS:
        assert record.status == "ok"
        assert record_path(tmp_path, record.digest).with_suffix(".safetensors").read_bytes() == b"weights"
    else:
        assert (record.status, record.reason) == ("failed", "the node went away; it was submitted 3 times")
    assert read_records(tmp_path) == [record]


def test_a_plan_that_an_executor_is_not_suited_for_is_refused_in_one_line() -> None:
    class Picky(FakeExecutor):
        def unsuited(self, job: AnyJob) -> str | None:
            return "it has no GPU" if isinstance(job, Job) and job.run.method.label == "lora" else None

    with pytest.raises(UserError, match="--on fake cannot do lora on synthetic, K=24, seed 0: it has no GPU"):
        refuse_unsuited(plan(request()), Picky())
    refuse_unsuited(plan(request(methods=("head",))), Picky())


@pytest.mark.parametrize(
    ("on", "message"),
    [
        ("locl", "unknown executor 'locl'; did you mean local? (bench list executors shows all)"),
        ("local:here", "--on local:here: local takes no address"),
        ("nowhere.py:Mine", "nowhere.py"),
        ("{folder}/mine.py:Path", "is no subclass of bench.Executor"),
        ("{folder}/mine.py:Half", "Half lacks stop, submit"),
    ],
)
def test_a_wrong_executor_is_one_line(
    on: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(
        "from pathlib import Path\nfrom bench import Executor\nclass Half(Executor):\n    name = 'half'\n"
    )
    words = ["compare", "--preset", "smoke", "--on", on.format(folder=tmp_path), "--out", str(tmp_path / "out")]
    assert bench(*words, monkeypatch=monkeypatch) == 2
    said = capfd.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_an_address_reaches_an_executor_that_takes_one(tmp_path: Path) -> None:
    from bench.registry.executors import make_executor

    (tmp_path / "far.py").write_text(
        "from bench import Executor\nclass Far(Executor):\n    name = 'far'\n    takes_address = True\n"
        "    def __init__(self, address): self.address = address\n"
        "    def submit(self, job, folder, report): ...\n    def stop(self): ...\n"
    )
    made: list[Any] = [make_executor(f"{tmp_path}/far.py:Far{address}") for address in ("", ":10.0.0.1:6379")]
    assert [one.address for one in made] == [None, "10.0.0.1:6379"]
    with pytest.raises(
        UserError, match=r"--jobs 2: executor .*far.py:Far holds 1 at once; leave --jobs out, or give 1"
    ):
        make_executor(f"{tmp_path}/far.py:Far", jobs=2)


# Large plans -----------------------------------------------------------------------------------------------------


def test_planning_makes_each_piece_of_a_key_once_and_each_key_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, not timed: text for each method, task, model and protocol; digests with and without the seeds."""
    counts: Counter[str] = Counter()

    def counted(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def call(*arguments: Any, **settings: Any) -> Any:
            counts[name] += 1
            return real(*arguments, **settings)

        monkeypatch.setattr(owner, name, call)

    counted(spec, "_canonical")
    counted(RunSpec, "_digest")
    seeds = tuple(range(50))
    todo = plan(request(methods=("head", "lora", "lora[r=2]"), data_seeds=seeds, model_seeds=seeds))
    assert len(go(todo, tmp_path, FakeExecutor())) == 150
    assert counts["_canonical"] <= 3 + 1 + 1 + 1 + 4 * 150, (
        "four pieces of each record that is read from a job's folder"
    )
    counts.clear()
    again = plan(request(methods=("head", "lora", "lora[r=2]"), data_seeds=seeds, model_seeds=seeds))
    assert go(again, tmp_path, FakeExecutor()) == []
    assert counts["_canonical"] <= 3 + 1 + 1 + 1 + 4 * 150
    assert counts["_digest"] <= 2 * 150


def test_a_command_reads_each_record_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"preset": "smoke", "methods": ["head", "lora"], "k": 8, "seeds": 3, "profile": False}
    (asked,) = requests_of(given)
    todo: Plan = plan(asked)
    for run in todo.runs:
        write_record(tmp_path, made_up_record(run, asked.measures))
        record_path(tmp_path, run.digest).with_suffix(".safetensors").touch()
    read: Counter[str] = Counter()
    real = store.read_record

    def counted(path: Path) -> Record:
        read[path.stem] += 1
        return real(path)

    monkeypatch.setattr(store, "read_record", counted)
    monkeypatch.setattr(local, "LocalExecutor", NoExecutor)
    words = ["compare", "head", "lora", "--preset", "smoke", "--k", "8", "--seeds", "3", "--no-profile"]
    assert bench(*words, "--baseline", "lora", "--out", str(tmp_path), monkeypatch=monkeypatch) == 0
    assert read == Counter(run.digest for run in todo.runs)


def test_what_follows_a_run_is_done_where_a_command_was_interrupted_before_it(tmp_path: Path) -> None:
    """The run itself is not done again."""

    class Alone(FakeExecutor):
        def __init__(self) -> None:
            super().__init__()
            self.jobs: list[AnyJob] = []

        def unsuited(self, job: AnyJob) -> str | None:
            return None

        def submit(self, job: AnyJob, folder: Path, report: ReportProgress) -> Future[Attempt]:
            self.jobs.append(job)
            if isinstance(job, AloneJob):
                answer = {"figures": {"resident_peak_bytes": 7}, "absent": {}}
                folder.mkdir(parents=True, exist_ok=True)
                (folder / ALONE).write_text(json.dumps(answer), "utf-8")
                future: Future[Attempt] = Future()
                future.set_result(Attempt.of_exit(0))
                return future
            return super().submit(job, folder, report)

    measures = Measures(energy=False, effective=False, profile=False, weights="none")
    todo = replace(plan(request(methods=("lora",), data_seeds=(0,), model_seeds=(0,))), measures=measures)
    go(todo, tmp_path, FakeExecutor())
    (record,) = read_records(tmp_path)
    assert record.result is not None
    costs = Costs(figures={"stored_bytes": 1}, absent={"resident_peak_bytes": STILL_ALONE})
    left = record.model_copy(update={"result": record.result.model_copy(update={"costs": costs})})
    write_record(tmp_path, left)
    executor = Alone()
    (done,) = go(todo, tmp_path, executor)
    assert [type(job) for job in executor.jobs] == [AloneJob]
    assert done.result is not None
    assert done.result.costs is not None
    assert done.result.costs.figures["resident_peak_bytes"] == 7
    assert go(todo, tmp_path, executor) == []
