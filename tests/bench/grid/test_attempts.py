from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.grid.attempts import settle
from bench.grid.executors.executor import Executor
from bench.records.spec import Measures, RunSpec
from bench.records.store import (
    BESIDE,
    Record,
    RecordFolder,
    claimed,
    load_outputs,
    read_record,
    record_path,
    runs_folder,
    weights_path,
    write_record,
)
from tests.conftest import MakeSpec, bench, run_one, tiny_spec

FAILING = """
import os, signal
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from bench import Method

@dataclass(frozen=True, kw_only=True)
class Failing(Method):
    # Trains one bias, and fails as the file beside this one says.
    name: ClassVar[str] = "failing"

    def adapt(self, model):
        how = (Path(__file__).parent / "how.txt").read_text()
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "raise":
            raise RuntimeError("no luck today")
        model.encoder.layer[0].output.dense.bias.requires_grad_(True)
"""
SCORES = Measures(costs=False, energy=False, effective=False, resident=False, profile=False)
ALL = SCORES.model_copy(update={"costs": True})


def fails(folder: Path, how: str) -> None:
    (folder / "how.txt").write_text(how)


@pytest.fixture
def failing(tmp_path: Path, make_spec: MakeSpec) -> RunSpec:
    (tmp_path / "failing.py").write_text(FAILING)
    fails(tmp_path, "no")
    return make_spec(f"{tmp_path}/failing.py:Failing")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, executor: Executor) -> Callable[[Path, Measures], Record]:
    """Puts a finished run into a folder; it is done once, with costs and without."""
    place = tmp_path_factory.mktemp("finished")
    (place / "failing.py").write_text(FAILING)
    fails(place, "no")
    spec = tiny_spec(f"{place}/failing.py:Failing")
    records = {measures: run_one(executor, spec, place / str(measures.costs), measures) for measures in (SCORES, ALL)}

    def put(out: Path, measures: Measures) -> Record:
        shutil.copytree(place / str(measures.costs), out)
        return records[measures]

    return put


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("kill", "the process was killed by SIGKILL, probably for want of memory"),
        ("raise", "RuntimeError: no luck today"),
    ],
)
def test_an_attempt_that_fails_leaves_the_earlier_scores(
    how: str, reason: str, failing: RunSpec, tmp_path: Path, executor: Executor
) -> None:
    out, digest = tmp_path / "out", failing.digest
    good = run_one(executor, failing, out, SCORES)
    assert good.result is not None
    files = {file.name: file.read_bytes() for file in runs_folder(out).iterdir() if file.suffix != ".json"}
    assert len(files) == 2
    fails(tmp_path, how)
    record = run_one(executor, failing, out, ALL)
    assert (record.status, record.reason) == ("failed", f"{reason}; the scores of an earlier run of it stay")
    stays = read_record(record_path(out, digest))
    assert stays.status == "ok"
    assert stays.result is not None
    assert stays.result.model_copy(update={"costs": None}) == good.result
    assert stays.result.costs is not None
    assert stays.result.costs.absent["train_flops"] == stays.reason == f"measured anew in vain: {reason}"
    assert (stays.traceback is not None) == (how == "raise")
    assert {file.name: file.read_bytes() for file in runs_folder(out).iterdir() if file.suffix != ".json"} == files
    assert RecordFolder(out).finished(SCORES) == {digest}, "a command that asks for no costs finds it done"
    assert RecordFolder(out).finished(ALL) == set(), "one that asks for them tries again"
    fails(tmp_path, "no")
    record = run_one(executor, failing, out, ALL)
    assert record.complete
    assert record.reason is None
    assert record.result is not None
    assert record.result.test_scores == good.result.test_scores
    assert RecordFolder(out).finished(ALL) == {digest}
    assert not (out / ".attempts").exists()


def test_costs_that_were_measured_to_the_end_outlive_an_attempt_that_dies(
    failing: RunSpec, tmp_path: Path, executor: Executor
) -> None:
    out = tmp_path / "out"
    good = run_one(executor, failing, out, ALL)
    assert good.result is not None
    weights_path(out, failing.digest).unlink()
    fails(tmp_path, "kill")
    record = run_one(executor, failing, out, ALL)
    assert record.status == "failed"
    stays = read_record(record_path(out, failing.digest))
    assert stays.complete
    assert stays.result == good.result


def test_the_command_says_that_a_run_failed_though_its_scores_stay(
    failing: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [
        "compare",
        failing.method.name,
        "-t",
        "synthetic",
        "-m",
        "tiny",
        "--k",
        "24",
        "--dev",
        "16",
        "--seeds",
        "1",
    ]
    asked += [
        "--epochs",
        "1",
        "--no-energy",
        "--no-effective",
        "--no-profile",
        "--no-resident",
        "--out",
        f"{tmp_path}/out",
    ]
    assert bench(*asked, "--no-costs", monkeypatch=monkeypatch) == 0
    fails(tmp_path, "raise")
    assert bench(*asked, "--costs", monkeypatch=monkeypatch) == 1
    told = capsys.readouterr()
    assert "1 of 1 runs failed" in told.err
    assert "no luck today" in (tmp_path / "out" / "report.md").read_text()
    fails(tmp_path, "no")
    assert bench(*asked, "--costs", monkeypatch=monkeypatch) == 0


def attempts(out: Path, digest: str, newer: Record | None) -> Path:
    """What a command that was killed has left: the earlier record in its place, and a job's folder."""
    folder = out / ".attempts" / "left"
    (folder / "runs").mkdir(parents=True)
    if newer is not None:
        write_record(folder, newer, outputs={"logits": np.zeros((2, 2), np.float32)})
    return folder


@pytest.mark.parametrize("left", ["nothing", "a failed record", "a scored record", "a result"])
@pytest.mark.parametrize("is_measured", [False, True])
def test_what_a_killed_command_left_is_taken_over_at_the_next_start(
    left: str, is_measured: bool, finished: Callable[[Path, Measures], Record], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    good = finished(out, ALL if is_measured else SCORES)
    digest = good.digest
    outputs = load_outputs(out, digest)["logits"]
    newer = good.model_copy(update={"started_at": "2027-01-01T00:00:00+00:00"})
    records = {
        "nothing": None,
        "a failed record": newer.model_copy(update={"status": "failed", "result": None, "reason": "no"}),
        "a scored record": newer.model_copy(update={"complete": False}),
        "a result": newer,
    }
    attempts(out, digest, records[left])
    with claimed(out) as folder:
        settle(folder)
    stays = read_record(record_path(out, digest))
    assert folder.by_digest == {digest: stays}
    if left == "a result" or (left == "a scored record" and not is_measured):
        assert stays.started_at == newer.started_at
        assert load_outputs(out, digest)["logits"].shape == (2, 2)
        why = "the command that did the run ended before its costs were measured"
        assert stays.reason == (None if left == "a result" else why)
    else:
        assert stays == good
        assert (load_outputs(out, digest)["logits"] == outputs).all()
    assert weights_path(out, digest).exists()
    assert not (out / ".attempts").exists()


def kill_at(step: int, out: str, digest: str) -> None:
    """Takes over what lies there, and dies before the `step`th change of a file."""
    changes = 0
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        nonlocal changes
        changes += 1
        if changes == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, target)

    Path.replace = replace  # type: ignore[method-assign]
    settle(RecordFolder(Path(out)))


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_command_killed_while_it_takes_over_loses_nothing(
    step: int, finished: Callable[[Path, Measures], Record], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    good = finished(out, SCORES)
    digest = good.digest
    (out / ".attempts" / "left").mkdir(parents=True)
    runs_folder(out).rename(runs_folder(out / ".attempts" / "left"))
    process = multiprocessing.get_context("fork").Process(target=kill_at, args=(step, str(out), digest))
    process.start()
    process.join()
    assert process.exitcode == (-signal.SIGKILL if step < 4 else 0), "two files beside the record, and the record"
    with claimed(out) as folder:
        settle(folder)
    assert read_record(record_path(out, digest)) == good
    assert load_outputs(out, digest)["logits"].shape == (300, 3)
    assert weights_path(out, digest).exists()
    assert not (out / ".attempts").exists()


@pytest.mark.parametrize("has_result", [False, True])
def test_what_an_earlier_version_put_aside_comes_back(
    has_result: bool, finished: Callable[[Path, Measures], Record], tmp_path: Path
) -> None:
    """It renamed the files of a run before the next attempt at it, and may have been killed then."""
    out = tmp_path / "out"
    good = finished(out, SCORES)
    digest = good.digest
    for suffix in (*BESIDE, ".json"):
        file = record_path(out, digest).with_suffix(suffix)
        if file.exists():
            file.rename(f"{file}.earlier")
    newer = good.model_copy(update={"started_at": "2027-01-01T00:00:00+00:00"})
    failed = newer.model_copy(update={"status": "failed", "result": None, "reason": "no"})
    write_record(out, newer if has_result else failed)
    with claimed(out) as folder:
        assert folder.records() == [newer if has_result else good]
    assert load_outputs(out, digest)["logits"].shape == (300, 3)
    assert weights_path(out, digest).exists()
    assert not list(runs_folder(out).glob("*.earlier"))
