"""Searches: which trials there are, what is chosen, what follows, and that no trial sees a test row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import bench
from bench.errors import UserError
from bench.grid.plan import Plan, plan
from bench.grid.request import request_of
from bench.records.record import Record, Result
from bench.records.spec import RunSpec
from bench.records.store import RecordFolder
from bench.training.prepared import prepare
from bench.tuning.choice import EXTENSION, extension_trials
from bench.tuning.search import Budget, phases
from bench.tuning.space import FIRST_TRIAL_SEED
from methods.kit.base import INSERTED_RATES

SMOKE = {"preset": "smoke", "methods": ["lora", "head", "majority"], "k": 16, "seeds": 2, "epochs": 1}
UNMEASURED = {"energy": False, "effective": False, "profile": False, "resident": False}


@pytest.fixture(scope="module")
def todo() -> Plan:
    return plan(request_of({**SMOKE, "trials": 4}))


def scored(run: RunSpec, score: float | None) -> Record:
    """A trial's record with a dev score, or of a run that failed."""
    result = Result(
        kind="classes",
        headline="accuracy",
        test_scores={},
        dev_scores={"accuracy": score or 0.0},
        trained_parameters=1,
        stored_parameters=1,
        head_parameters=1,
        backbone_parameters=1,
        train_examples=16,
        dev_examples=16,
        test_examples=0,
        data_digest="0",
        head_kind="mean",
        learning_rate=1e-3,
        head_learning_rate=1e-3,
    )
    ok = score is not None
    return Record(
        digest=run.digest,
        status="ok" if ok else "failed",
        reason=None if ok else "it diverged",
        asked=run,
        result=result if ok else None,
        environment={},
        started_at="2026-01-01T00:00:00+00:00",
    )


def by_rate(run: RunSpec, best: float) -> float:
    """A score that falls with the distance of the learning rate from the best one, in decades."""
    import math

    return 0.9 - 0.1 * abs(math.log10(run.method.fields["learning_rate"] / best))


def test_every_method_gets_the_same_draws_and_seeds_of_its_own(todo: Plan) -> None:
    trials = next(phases(todo, Budget(4, 2), {})).runs
    assert len(trials) == 2 * 2 * 4  # majority has nothing to search
    assert [run.search.draw for run in trials if run.search][:4] == [0, 0, 1, 1]  # the methods take turns
    lora, head = ([run for run in trials if run.method.label == name] for name in ("lora", "head"))
    assert [run.model_seed for run in lora] == [run.model_seed for run in head]
    assert len({run.model_seed for run in lora}) == len(lora)
    assert [run.data_seed for run in lora] == [FIRST_TRIAL_SEED] * 4 + [FIRST_TRIAL_SEED + 1] * 4
    low, high = INSERTED_RATES  # the same range for both here
    rates = [run.method.fields["learning_rate"] for run in lora]
    assert rates == [run.method.fields["head_learning_rate"] for run in head]
    assert all(low <= rate <= high for rate in rates)
    assert len(set(rates)) == 8
    longer = next(phases(todo, Budget(6, 2), {})).runs
    assert {run.digest for run in trials} < {run.digest for run in longer}


def test_the_best_trial_is_trained_anew_with_fresh_seeds(todo: Plan) -> None:
    records: dict[str, Record] = {}
    steps = phases(replace(todo, jobs=2), Budget(4, 2), records)
    first = next(steps)
    trials = first.runs
    inner = sorted(run.method.fields["learning_rate"] for run in trials if run.method.label == "lora")[3]
    for run in trials:
        records[run.digest] = scored(run, by_rate(run, inner) if run.method.label == "lora" else 0.5)
    for step in steps:
        last = step
        for run in step.runs:
            if run.is_trial:
                records[run.digest] = scored(run, 0.1)
    runs = [run for run in last.runs if run.method.label == "lora"]
    assert [(run.data_seed, run.model_seed) for run in runs] == [(0, 0), (1, 1)]
    for run in runs:
        assert run.search is not None
        mine = [t for t in trials if t.method.label == "lora" and t.search and t.search.number == run.search.number]
        best = max(mine, key=lambda trial: by_rate(trial, inner))
        assert run.method.fields == best.method.fields
        assert run.method.label == "lora"
    majority = [run for run in last.runs if run.method.label == "majority"]
    assert [run.search.space for run in majority if run.search] == [{}, {}]
    assert last.unsupported == {}
    assert (first.jobs, last.jobs) == (2, 1)  # trials alone are made side by side: they have no times to report


def test_a_choice_at_an_end_of_the_range_is_followed_once(todo: Plan) -> None:
    records: dict[str, Record] = {}
    steps = phases(todo, Budget(4, 1), records)
    for run in next(steps).runs:
        records[run.digest] = scored(run, by_rate(run, 10.0) if run.method.label == "lora" else None)
    beyond = next(steps).runs
    assert {run.method.label for run in beyond} == {"lora"}
    assert len(beyond) == extension_trials(4)
    rates = [run.method.fields["learning_rate"] for run in beyond]
    assert all(INSERTED_RATES[1] <= rate <= INSERTED_RATES[1] * 10 ** (2.5 * EXTENSION) for rate in rates)
    assert all(run.search and (run.search.draw or 0) >= 4 for run in beyond)
    for run in beyond:
        records[run.digest] = scored(run, by_rate(run, 10.0))
    last = next(steps)
    assert not any(run.is_trial for run in last.runs)  # once, and no more
    chosen = next(run for run in last.runs if run.method.label == "lora")
    assert chosen.method.fields["learning_rate"] == max(rates)
    assert chosen.search is not None
    assert chosen.search.at_edge == {"learning_rate": "high"}


def test_failed_trials_count_and_where_all_failed_nothing_is_trained_anew(todo: Plan) -> None:
    records: dict[str, Record] = {}
    steps = phases(todo, Budget(4, 1), records)
    for run in next(steps).runs:
        only = run.method.label == "lora" and run.search is not None and run.search.draw == 1
        records[run.digest] = scored(run, 0.4 if only else None)
    while (last := next(steps)).runs[0].is_trial:
        for run in last.runs:
            records[run.digest] = scored(run, None)
    assert sorted(last.unsupported.values()) == ["all 4 trials failed, the first of them: it diverged"] * 2
    assert {run.method.label for run in last.runs if run.digest in last.unsupported} == {"head"}


def test_what_the_user_sets_is_not_searched() -> None:
    fixed = plan(request_of({**SMOKE, "methods": ["lora[learning_rate=0.01]", "lora"], "trials": 2}))
    assert set(fixed.spaces) == {"lora"}
    assert plan(request_of(SMOKE)).spaces == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"trials": 0}, "--trials 0: Input should be greater than or equal to 1"),
        ({"trials": 2, "searches": 3}, "--searches 3: there are 2 seeds to share them; give 2 at most"),
        ({"trials": 2, "dev": 0}, "--trials needs dev rows to choose on"),
    ],
)
def test_bad_input(fields: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan(request_of({**SMOKE, **fields}))


def test_a_tuned_comparison_goes_on_where_it_stopped_and_no_trial_sees_a_test_row(tmp_path: Path) -> None:
    asked = {**SMOKE, **UNMEASURED, "methods": ["lora", "majority"], "out": tmp_path, "trials": 2}
    done = bench.compare(**asked)  # type: ignore[arg-type]
    trials = [record for record in done.records if record.asked.is_trial]
    rest = [record for record in done.records if not record.asked.is_trial]
    assert len(trials) >= 4
    assert len(rest) == 4
    for record in trials:
        assert record.result is not None
        assert (record.result.test_scores, record.result.test_examples, record.result.infer_time_s) == ({}, 0, None)
        assert record.result.dev_scores
        assert not list((tmp_path / "runs").glob(f"{record.digest}.npz"))
    setting = prepare(trials[0].asked)  # what a trial is given
    assert (setting.examples.test, len(setting.test)) == ([], 0)
    frame = done.frame()
    assert sorted(frame["method"]) == ["lora", "lora", "majority", "majority"]  # one row a method, whatever its rates
    assert set(frame["setting"]) == {next(iter(frame["setting"]))}
    assert "best of 2 trials" in frame["setting"].iloc[0]
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    victim = rest[0].digest
    (tmp_path / "runs" / f"{victim}.json").unlink()
    bench.compare(**asked)  # type: ignore[arg-type]
    changed = {path.name for path in (tmp_path / "runs").iterdir() if files.get(path) != path.stat().st_mtime_ns}
    assert {name.partition(".")[0] for name in changed} == {victim}


def test_a_failed_trial_is_not_tried_again(todo: Plan, tmp_path: Path) -> None:
    run = next(phases(todo, Budget(4, 2), {})).runs[0]
    folder = RecordFolder(tmp_path)
    folder.write(scored(run, None))
    assert folder.finished() == {run.digest}
    plain = run.model_copy(update={"search": None})
    folder.write(scored(plain, None))
    assert folder.finished() == {run.digest}
