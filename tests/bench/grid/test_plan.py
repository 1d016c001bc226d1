from __future__ import annotations

import shutil
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.costs.profile import setting_of
from bench.environment import usable_cpus
from bench.errors import UserError
from bench.grid.display import display, summary
from bench.grid.executors.executor import Attempt, Executor
from bench.grid.plan import Plan, Request, plan, profile_job
from bench.grid.schedule import run_grid
from bench.meters.allocator import Allocator, expected
from bench.progress import Progress, ReportProgress
from bench.records.spec import AnyJob, Job, Measures, Protocol, RunSpec
from bench.records.store import (
    Costs,
    Effective,
    Profile,
    ProfileRow,
    Record,
    RecordFolder,
    Result,
    read_records,
    weights_path,
    write_profile,
    write_record,
)
from tests.conftest import MakeSpec


def request(**changes: Any) -> Request:
    protocol = Protocol.model_validate({"dev": 16, "max_length": 32, **changes.pop("protocol", {})})
    values: dict[str, Any] = {
        "methods": ("head", "lora"),
        "tasks": ("synthetic",),
        "model": "tiny",
        "ks": (24,),
        "data_seeds": (0, 1),
        "model_seeds": (0, 1),
        "protocol": protocol,
    }
    return Request(**{**values, **changes})


def made_up(measures: Measures) -> Result:
    """A result with the figures that are measured, and nothing in them."""
    return Result(
        kind="classes", headline="accuracy", test_scores={"accuracy": 0.5}, trained_parameters=2, stored_parameters=1,
        head_parameters=3, backbone_parameters=100, train_examples=24, dev_examples=16, test_examples=300,
        head_kind="native", learning_rate=1e-3, head_learning_rate=5e-3, data_digest="0",
        costs=Costs() if measures.costs else None,
        effective=Effective(parts=0, part_parameters=0) if measures.effective else None,
    )  # fmt: skip


def made_up_record(spec: RunSpec, measures: Measures, *, fails: bool = False) -> Record:
    return Record(
        digest=spec.digest, status="failed" if fails else "ok", reason="no" if fails else None, asked=spec,
        result=None if fails else made_up(measures),
        environment={}, started_at="2026-01-01T00:00:00+00:00", wall_time_s=1.0,
    )  # fmt: skip


class FakeExecutor(Executor):
    """Notes what it is asked; a run whose method is in `failing` fails."""

    name = "fake"

    def __init__(self, *failing: str) -> None:
        self.failing = failing
        self.asked: list[str] = []
        self.measures: list[Measures] = []

    def unsuited(self, job: AnyJob) -> str | None:
        return None if isinstance(job, Job) else "it fakes runs alone"

    def submit(self, job: AnyJob, folder: Path, report: ReportProgress) -> Future[Attempt]:
        assert isinstance(job, Job)
        self.asked.append(job.run.title)
        self.measures.append(job.measures)
        report(Progress("train", 1, 2, None))
        record = self.record(job)
        write_record(folder, record)
        if record.result is not None:
            weights_path(folder, record.digest).touch()
        return ended()

    def record(self, job: Job) -> Record:
        return made_up_record(job.run, job.measures, fails=job.run.method.label in self.failing)

    def stop(self) -> None:
        """Nothing is under way."""


def ended(attempt: Attempt | None = None) -> Future[Attempt]:
    future: Future[Attempt] = Future()
    future.set_result(attempt or Attempt.of_exit(0))
    return future


def go(todo: Plan, out: Path, executor: Executor) -> list[Record]:
    return list(run_grid(todo, RecordFolder(out), executor))


def test_the_order_of_runs() -> None:
    found = plan(request(ks=(24, None)))
    assert [run.title for run in found.runs] == [
        f"{method} on synthetic, K={k}, seed {seed}"
        for seed in (0, 1)
        for k in (24, "all")
        for method in ("head", "lora")
    ]
    assert {run.protocol.head for run in found.runs} == {"native"}
    assert len({run.digest for run in found.runs}) == 8
    assert found.unsupported == {}


def test_a_method_named_twice_runs_once() -> None:
    assert len(plan(request(methods=("lora", "lora[r=8]", "lora[r=4]"))).runs) == 4


def test_seeds_are_paired() -> None:
    found = plan(request(methods=("head",), data_seeds=(5, 5, 5), model_seeds=(0, 1, 2)))
    assert [(run.data_seed, run.model_seed) for run in found.runs] == [(5, 0), (5, 1), (5, 2)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("lroa",)}, "unknown method 'lroa'"),
        ({"tasks": ("trek",)}, "unknown task 'trek'; did you mean trec"),
        ({"model": "tinny"}, "unknown model 'tinny'; did you mean tiny"),
        ({"ks": (24, 601)}, "task synthetic: k=601 cannot be drawn: there are 600 training rows"),
        ({"ks": (600,)}, "task synthetic: k=600 leaves no training row for dev"),
        ({"tasks": ("synthetic", "synthetic")}, "2 tasks are called 'synthetic'"),
        ({"protocol": {"max_length": 257}}, "max length 257 is more than the 256 positions of tiny"),
        ({"protocol": {"max_length": 256}, "model": "tiny-roberta"}, "more than the 255 positions"),
    ],
    ids=str,
)
def test_mistakes_are_found_before_the_first_run(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan(request(**changes))


def test_finished_runs_are_skipped_and_failed_ones_done_again(tmp_path: Path) -> None:
    todo = plan(request())
    first = FakeExecutor("lora")
    assert [record.status for record in go(todo, tmp_path, first)] == ["ok", "failed", "ok", "failed"]
    assert len(first.asked) == 4, "a failed run stops nothing"
    second = FakeExecutor()
    assert len(go(todo, tmp_path, second)) == 2
    assert second.asked == ["lora on synthetic, K=24, seed 0", "lora on synthetic, K=24, seed 1"]
    assert go(todo, tmp_path, FakeExecutor()) == []


class Counting(FakeExecutor):
    """Runs of seeds in `unlucky` fail; the others count FLOPs if they are told to."""

    def __init__(self, *unlucky: int) -> None:
        super().__init__()
        self.unlucky = unlucky
        self.first: dict[str, bool] = {}

    def record(self, job: Job) -> Record:
        self.failing = (job.run.method.label,) if job.run.model_seed in self.unlucky else ()
        self.first[job.run.title] = job.first
        record = super().record(job)
        if record.result is not None and job.first:
            result = record.result.model_copy(update={"costs": Costs(figures={"infer_flops": 0})})
            record = record.model_copy(update={"result": result})
        return record

    def seeds(self, method: str) -> list[int]:
        """Which seeds were told to measure their costs."""
        return [int(title[-1]) for title, first in self.first.items() if title.startswith(method) and first]


def test_costs_are_measured_at_the_first_seed_that_finishes(tmp_path: Path) -> None:
    seeds = {"data_seeds": (0, 1, 2), "model_seeds": (0, 1, 2)}
    todo = plan(request(**seeds))
    lucky = Counting()
    go(todo, tmp_path / "lucky", lucky)
    assert lucky.seeds("lora") == lucky.seeds("head") == [0]
    executor = Counting(0)
    go(todo, tmp_path, executor)
    assert executor.seeds("lora") == executor.seeds("head") == [0, 1]
    again = Counting()
    assert len(go(todo, tmp_path, again)) == 2, "the failed seeds"
    assert again.seeds("lora") == [], "seed 1 has measured them"
    more = Counting()
    go(plan(request(**seeds, ks=(24, 32))), tmp_path, more)
    assert more.seeds("lora") == [0], "at another K once more"


def test_a_run_done_again_measures_what_it_replaces(tmp_path: Path) -> None:
    todo = plan(request(methods=("lora",)))
    go(todo, tmp_path, Counting())
    weights_path(tmp_path, todo.runs[0].digest).unlink()
    again = Counting()
    assert len(go(todo, tmp_path, again)) == 1
    assert again.seeds("lora") == [0]


@pytest.mark.parametrize("missing", ["costs", "effective"])
def test_a_run_that_lacks_what_is_measured_now_is_done_again(tmp_path: Path, missing: str) -> None:
    asked = {"methods": ("head",), "data_seeds": (0,), "model_seeds": (0,)}
    without = plan(request(**asked, measures=Measures.model_validate({missing: False})))
    whole = plan(request(**asked))
    assert [run.digest for run in without.runs] == [run.digest for run in whole.runs], "measuring changes no run"
    go(without, tmp_path, FakeExecutor())
    assert go(without, tmp_path, FakeExecutor()) == []
    executor = FakeExecutor()
    assert len(go(whole, tmp_path, executor)) == 1
    assert executor.measures == [Measures()]
    assert go(whole, tmp_path, FakeExecutor()) == []
    assert go(without, tmp_path, FakeExecutor()) == [], "more than is asked for does no harm"
    weights_path(tmp_path, whole.runs[0].digest).unlink()
    assert len(go(whole, tmp_path, FakeExecutor())) == 1, "weights that are gone are made again"


def test_a_folder_means_one_thing_by_a_name(tmp_path: Path) -> None:
    todo = plan(request(methods=("head",), data_seeds=(0,), model_seeds=(0,)))
    go(todo, tmp_path, FakeExecutor())
    run = todo.runs[0]
    other = run.model_copy(update={"task": run.task.model_copy(update={"name": "elsewhere/synthetic"})})
    with pytest.raises(UserError, match="another task called 'synthetic'"):
        go(Plan([other], {}), tmp_path, FakeExecutor())
    changed = run.model_copy(update={"task": run.task.model_copy(update={"revision": "2"})})
    with pytest.raises(UserError, match="other rows of task synthetic"):
        go(Plan([changed], {}), tmp_path, FakeExecutor())


def test_one_profile_a_comparison(tmp_path: Path) -> None:
    measures = Measures(profile_tokens=64, profile_rounds=7)
    todo = plan(request(methods=("head", "lora", "full"), measures=measures, protocol={"batch_size": 4}))
    refused = Plan(todo.runs, {run.digest: "no" for run in todo.runs if run.method.label == "full"}, measures)
    assert profile_job(refused, RecordFolder(tmp_path)) is None, "without a finished run there is nothing to profile"
    go(refused, tmp_path, FakeExecutor())
    job = profile_job(refused, RecordFolder(tmp_path))
    assert job is not None
    assert sorted(spec.label for spec in job.methods) == ["head", "lora"], "each method once, without the unsupported"
    # no longer than the texts are cut to
    assert (job.shape.model, job.shape.batch, job.shape.tokens, job.shape.rounds) == ("tiny", 4, 32, 7)
    assert job.protocol == todo.runs[0].protocol

    def done(
        *labels: str, rounds: int = 7, threads: int | None = None, allocator: Allocator = "keep", **changes: Any
    ) -> None:
        shape = job.shape.model_copy(update={"rounds": rounds, **changes})
        protocol = job.protocol.model_copy(update={"threads": threads})
        setting = setting_of(shape, protocol, expected(allocator))
        values = {name: getattr(setting, name) for name in ("model", "batch", "tokens", "rounds", "threads", "device")}
        values |= {"train_reference": "a", "infer_reference": "b", "environment": {}, "setting": setting}
        methods = {spec.label: spec for spec in job.methods if spec.label in labels}
        shutil.rmtree(tmp_path / "profiles", ignore_errors=True)
        write_profile(tmp_path, Profile(**values, rows=dict.fromkeys(labels, ProfileRow()), methods=methods))

    done("head", "lora")
    assert profile_job(refused, RecordFolder(tmp_path)) is None
    done("head")
    assert profile_job(refused, RecordFolder(tmp_path)) == job
    done("head", "lora", rounds=6)
    assert profile_job(refused, RecordFolder(tmp_path)) == job
    done("head", "lora", rounds=8)
    assert profile_job(refused, RecordFolder(tmp_path)) is None, "more rounds than asked for will do"
    cores = usable_cpus()
    done("head", "lora", threads=cores)
    assert profile_job(refused, RecordFolder(tmp_path)) is None, "as many threads as there are cores is the default"
    done("head", "lora", threads=cores + 1)
    assert profile_job(refused, RecordFolder(tmp_path)) == job, "another number of threads is another setting"
    done("head", "lora", batch=5)
    assert profile_job(refused, RecordFolder(tmp_path)) == job
    done("head", "lora", head="mean")
    assert profile_job(refused, RecordFolder(tmp_path)) == job
    if expected("keep") != expected("system"):
        done("head", "lora", allocator="system")
        assert profile_job(refused, RecordFolder(tmp_path)) == job
    off = Plan(todo.runs, {}, measures.model_copy(update={"profile": False}))
    assert profile_job(off, RecordFolder(tmp_path)) is None


def test_a_profile_has_as_many_outputs_as_the_one_task_of_its_runs(tmp_path: Path) -> None:
    todo = plan(request(methods=("head",), data_seeds=(0, 1), model_seeds=(0, 1)))
    records = go(todo, tmp_path, FakeExecutor())

    def outputs(*classes: int | None) -> int | None:
        for record, count in zip(records, classes, strict=True):
            assert record.result is not None
            changes = {"kind": "regression"} if count is None else {"classes": list(map(str, range(count)))}
            write_record(tmp_path, record.model_copy(update={"result": record.result.model_copy(update=changes)}))
        job = profile_job(todo, RecordFolder(tmp_path))
        return None if job is None else job.shape.outputs

    assert outputs(77, 77) == 77
    assert outputs(None, None) == 1
    assert outputs(77, 3) == 2, "runs of several tasks share one profile"


def test_what_a_method_cannot_do_is_recorded(tmp_path: Path) -> None:
    todo = plan(request(methods=("lora",), data_seeds=(0,), model_seeds=(0,)))
    refused = Plan(todo.runs, {todo.runs[0].digest: "no such layers"})
    executor = FakeExecutor()
    (record,) = go(refused, tmp_path, executor)
    assert (record.status, record.reason, executor.asked) == ("unsupported", "no such layers", [])
    assert read_records(tmp_path) == [record]


def test_unsupported_comes_from_the_method(tmp_path: Path) -> None:
    path = tmp_path / "odd.py"
    path.write_text(
        "from dataclasses import dataclass\nfrom typing import ClassVar\nfrom bench import Method\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Odd(Method):\n    name: ClassVar[str] = 'odd'\n"
        "    def adapt(self, model): ...\n"
        "    def unsupported(self, config): return f'no {config.model_type}'\n"
    )
    found = plan(request(methods=("head", f"{path}:Odd"), data_seeds=(0,), model_seeds=(0,)))
    assert found.unsupported == {found.runs[1].digest: "no bert"}


def test_two_methods_of_one_name_are_refused(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"m{number}.py").write_text(
            "from dataclasses import dataclass\nfrom typing import ClassVar\nfrom bench import Method\n"
            "@dataclass(frozen=True, kw_only=True)\nclass Mine(Method):\n    name: ClassVar[str] = 'mine'\n"
            f"    def adapt(self, model): return {number}\n"
        )
    with pytest.raises(UserError, match="are both called 'mine'; rename one"):
        plan(request(methods=(f"{tmp_path}/m1.py:Mine", f"{tmp_path}/m2.py:Mine")))


def test_lines_without_a_terminal(make_spec: MakeSpec, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    record = made_up_record(make_spec(), Measures(), fails=True)
    with display(3) as show:
        show.start(record.asked, 2)
        show.update(record.asked, Progress("train", 1, 2, None))
        show.end(record)
    assert capsys.readouterr().err == "[2/3] head on synthetic, K=24, seed 0: failed: no\n"


def test_bars_on_a_terminal(
    make_spec: MakeSpec, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    record = made_up_record(make_spec("lora[r=2]"), Measures(), fails=True)
    with display(1) as show:
        show.start(record.asked, 1)
        show.update(record.asked, Progress("train", 1, 2, 0.5))
        show.end(record)
    assert "lora[r=2] on synthetic, K=24, seed 0: failed: no" in capsys.readouterr().err


def test_a_run_in_a_line(make_spec: MakeSpec) -> None:
    result = SimpleNamespace(headline="accuracy", test_scores={"accuracy": 0.12345})
    record: Any = SimpleNamespace(asked=make_spec(), result=result, wall_time_s=1.26, complete=True)
    assert summary(record) == "head on synthetic, K=24, seed 0: accuracy 0.123 (1.3 s)"
    result.test_scores = {}
    assert "accuracy undefined" in summary(record)
