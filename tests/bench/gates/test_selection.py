"""Which runs a gate study takes: never several K, protocols, or seeds that partly share rows or training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.errors import UserError
from bench.gates.selection import seed_of, select
from bench.records.spec import RunSpec, TaskSpec
from bench.records.store import Record, gates_path, weights_path
from tests.conftest import tiny_spec

Seeds = tuple[int, int]


def run(out: Path, seeds: Seeds, *, k: int = 24, method: str = "unipelt", task: str = "a", **more: Any) -> Record:
    """A finished gated run as far as the selection looks: its record, and files of its names."""
    spec = tiny_spec(method, k=k, **more).model_copy(update={"data_seed": seeds[0], "model_seed": seeds[1]})
    of_task = TaskSpec(name=task, label=task, source="built-in", revision="1")
    spec = RunSpec.model_validate(spec.model_copy(update={"task": of_task}).model_dump())
    for path in (gates_path(out, spec.digest), weights_path(out, spec.digest)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return Record(digest=spec.digest, status="ok", asked=spec, environment={}, started_at="2026-01-01T00:00:00+00:00")


def test_one_k_is_taken_and_several_are_refused(tmp_path: Path) -> None:
    records = [run(tmp_path, (seed, seed), k=k) for seed in (0, 1) for k in (24, 48)]
    with pytest.raises(UserError, match=r"unipelt at K=24, 48; choose one with --k"):
        select(tmp_path, records)
    chosen = select(tmp_path, records, ks=[48])
    assert [record.asked.k for record in chosen.runs] == [48, 48]
    with pytest.raises(UserError, match=r"no run .* at that --k and --seed; there are K=24, 48 and seeds 0, 1"):
        select(tmp_path, records, ks=[100])


@pytest.mark.parametrize("pairs", [[(0, 0), (1, 1), (2, 2)], [(0, 0), (0, 1), (0, 2)], [(0, 0), (1, 0), (2, 0)]])
def test_seeds_that_differ_in_all_or_in_one_alone_are_taken(tmp_path: Path, pairs: list[Seeds]) -> None:
    chosen = select(tmp_path, [run(tmp_path, pair) for pair in reversed(pairs)])
    assert [(r.asked.data_seed, r.asked.model_seed) for r in chosen.runs] == pairs


def test_seeds_that_share_in_part_are_refused_until_some_are_chosen(tmp_path: Path) -> None:
    records = [run(tmp_path, pair) for pair in [(0, 0), (1, 1), (0, 1)]]
    assert [seed_of(record.asked) for record in records] == ["0", "1", "0/1"]
    with pytest.raises(UserError, match=r"some, not all, share rows or training: seeds 0, 1, 0/1 \(data/model\)"):
        select(tmp_path, records)
    assert len(select(tmp_path, records, seeds=["0", "1"]).runs) == 2
    assert len(select(tmp_path, records, seeds=["0", "0/1"]).runs) == 2
    with pytest.raises(UserError, match="no run"):
        select(tmp_path, records, seeds=["0", "7"])


def test_a_task_with_one_seed_among_others_with_more_is_named(tmp_path: Path) -> None:
    records = [run(tmp_path, (0, 0)), run(tmp_path, (1, 1)), run(tmp_path, (1, 1), task="b")]
    with pytest.raises(UserError, match=r"^b: one seed of unipelt where other tasks have more; .* --seed 1$"):
        select(tmp_path, records)
    assert len(select(tmp_path, records, seeds=["1"]).runs) == 2


def test_what_does_not_compare_or_is_not_there_is_refused(tmp_path: Path) -> None:
    one = run(tmp_path, (0, 0))
    with pytest.raises(UserError, match="several models, protocols or sources"):
        select(tmp_path, [one, run(tmp_path, (1, 1), epochs=5)])
    with pytest.raises(UserError, match="--method lora: the gated methods in .* are unipelt$"):
        select(tmp_path, [one], method="lora")
    gates_path(tmp_path, one.digest).unlink()
    with pytest.raises(UserError, match="holds no run of a gated method; try bench compare --preset gates"):
        select(tmp_path, [one])
    other = run(tmp_path, (1, 1))
    assert select(tmp_path, [one, other]).left_out == (f"{one.asked.title}: its gate values are not there",)
    weights_path(tmp_path, other.digest).unlink()
    with pytest.raises(UserError, match="seed 1 kept no weights; .*--weights all"):
        select(tmp_path, [one, other])


def test_failed_runs_are_left_out_with_their_reason(tmp_path: Path) -> None:
    one, two = run(tmp_path, (0, 0)), run(tmp_path, (1, 1))
    gates_path(tmp_path, two.digest).unlink()
    two = two.model_copy(update={"status": "failed", "reason": "the loss became infinite"})
    chosen = select(tmp_path, [one, two, run(tmp_path, (2, 2), method="unipelt[gate=constant]")], method="unipelt")
    assert chosen.runs == (one,)
    assert chosen.left_out == ("unipelt on a, K=24, seed 1: the loss became infinite",)
