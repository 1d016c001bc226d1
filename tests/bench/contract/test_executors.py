"""Every executor keeps the contract: those that come along, and one that an author wrote in one file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.contract.executors import PROMISES, ExecutorUnderTest
from bench.grid.executors.executor import Executor
from bench.records.store import read_records
from bench.registry.executors import built_in, make_executor
from tests.bench.contract.forked_executor import Forks
from tests.conftest import bench

ROOT = Path(__file__).resolve().parents[3]
AUTHORS = f"{Path(__file__).parent / 'subprocess_executor.py'}:Subprocesses"


@pytest.fixture(scope="module", params=[*built_in(), Forks.name])
def under_test(request: pytest.FixtureRequest, executor: Executor) -> Iterator[Executor]:
    if request.param == executor.name:
        yield executor
        return
    with Forks() if request.param == Forks.name else make_executor(request.param) as made:
        yield made


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_an_executor_keeps_its_promises(
    promise: Callable[[ExecutorUnderTest], None], under_test: Executor, executor: Executor, tmp_path: Path
) -> None:
    promise(ExecutorUnderTest(under_test, executor, tmp_path))


def test_a_comparison_on_an_executor_of_one_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same digests and scores as without `--on`, and the folder looks the same."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    words = ["compare", "head", "--preset", "smoke", "--k", "8", "--steps", "2", "--seeds", "1"]
    words += ["--no-costs", "--no-energy", "--no-effective", "--no-profile"]
    for folder, on in (("here", []), ("there", ["--on", AUTHORS])):
        assert bench(*words, *on, "--out", str(tmp_path / folder), monkeypatch=monkeypatch) == 0
    assert "[1/1] " in capsys.readouterr().err
    here, there = (
        {record.digest: record.result.test_scores for record in read_records(tmp_path / name)}
        for name in ("here", "there")
    )
    assert here == there
    assert len(here) == 1
    files = [sorted(str(path.relative_to(tmp_path / name)) for path in (tmp_path / name).rglob("*"))
             for name in ("here", "there")]  # fmt: skip
    assert files[0] == files[1]
