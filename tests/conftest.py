"""What the tests share: one thread, torch's global settings put back, a quick collector, and small runs."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from bench.grid.executors.executor import Executor

if TYPE_CHECKING:
    from bench.records.record import Record
    from bench.records.spec import Measures, RunSpec

MakeSpec = Callable[..., "RunSpec"]


@pytest.fixture(autouse=True)
def _torch_settings() -> Iterator[None]:
    """A run fixes threads and determinism of its process; the next test starts from the defaults."""
    yield
    if "torch" in sys.modules:
        import torch

        torch.set_deterministic_debug_mode("default")
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def _frozen_at() -> list[int]:
    """How many modules were imported when the collector was last told to leave what there is alone."""
    return [0]


@pytest.fixture(autouse=True)
def _imports_are_frozen(_frozen_at: list[int]) -> None:
    """Each run collects garbage: over all that torch and the rest import, that would take longer than a tiny run.

    What was made before, fixtures of wider scope too, is freed by its last reference only.
    """
    if len(sys.modules) > _frozen_at[-1] + 100:
        gc.collect()
        gc.freeze()
        _frozen_at.append(len(sys.modules))


def tiny_spec(method: str = "head", *, k: int = 24, seed: int = 0, task: str = "synthetic", **protocol: Any) -> RunSpec:
    """The specification of a tiny run on the synthetic task; keywords override the protocol."""
    from bench.records.spec import ModelSpec, Protocol, RunSpec
    from bench.registry.methods import resolve_method
    from bench.registry.tasks import resolve_task

    settings = {"dev": 16, "epochs": 2, "batch_size": 8, "max_length": 32, "head": "mean", "threads": 1}
    settings |= {"head_learning_rate": 0.05, **protocol}
    return RunSpec(
        method=resolve_method(method).spec,
        task=resolve_task(task).spec,
        model=ModelSpec(name="tiny", revision="seed 0"),
        k=k,
        data_seed=seed,
        model_seed=seed,
        protocol=Protocol.model_validate(settings),
    )


@pytest.fixture
def make_spec() -> MakeSpec:
    """Makes the specification of a tiny run."""
    return tiny_spec


@pytest.fixture(scope="session")
def executor() -> Iterator[Executor]:
    """One fork server for all tests: its imports take seconds."""
    from bench.grid.executors.local import LocalExecutor

    with LocalExecutor() as made:
        yield made


def run_one(executor: Executor, spec: RunSpec, out: Path, measures: Measures | None = None) -> Record:
    """Has a run done that the folder lacks; gives the record of this attempt."""
    from bench.grid.plan import Plan
    from bench.grid.schedule import run_grid
    from bench.records.spec import Measures
    from bench.records.store import RecordFolder

    (record,) = run_grid(Plan([spec], {}, measures or Measures()), RecordFolder(out), executor)
    return record


def bench(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Runs the command in this process; returns its exit code."""
    from bench import cli

    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


class NoExecutor(Executor):
    """Starts no server: what is wrong must be found before the first run."""

    name = "none"

    def submit(self, *arguments: Any) -> Any:
        raise AssertionError("a run began")

    def stop(self) -> None:
        """There is nothing to stop."""
