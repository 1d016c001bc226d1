"""Selects the finished runs of a gate study: one method, one K, one model and protocol, and comparable seeds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UserError
from bench.records.spec import RunSpec
from bench.records.store import Record, gates_path, weights_path


@dataclass(frozen=True)
class Selection:
    """The runs of a study.

    Attributes:
        method: label of the method.
        runs: finished runs with gate values and weights, by task and seed.
        left_out: for each other run of the method in this setting, its title and why it is not among `runs`.
    """

    method: str
    runs: tuple[Record, ...]
    left_out: tuple[str, ...]


def select(
    out: Path,
    records: Sequence[Record],
    *,
    method: str | None = None,
    ks: Collection[int | None] | None = None,
    seeds: Collection[str] = (),
) -> Selection:
    """Selects the runs of a study, and refuses runs that are not comparable.

    Args:
        out: the comparison's folder.
        records: all records of the folder.
        method: label of the method; None takes the method with most runs.
        ks: training-set sizes to keep; None keeps all, of which there must be one only.
        seeds: seeds to keep, written as in titles, such as `0` or `0/1` (data, model); empty keeps all.

    Raises:
        UserError: there are no such runs, or they are not comparable; the message says what to choose.
    """
    wanted = [r for r in records if (ks is None or r.asked.k in ks) and (not seeds or seed_of(r.asked) in seeds)]
    gated = [record for record in wanted if _has_gates(out, record)]
    missing = set(seeds) - {seed_of(record.asked) for record in gated}
    if not gated or missing:
        raise _nothing_there(out, [record.asked for record in records if _has_gates(out, record)])
    label = method or _commonest([record.asked.method.label for record in gated])
    runs = [record for record in gated if record.asked.method.label == label]
    if not runs:
        labels = sorted({record.asked.method.label for record in gated})
        raise UserError(f"--method {method}: the gated methods in {out} are {', '.join(labels)}")
    specs = [record.asked for record in runs]
    _check_same_setting(out, label, specs)
    _check_seeds_of_tasks(label, specs)
    _check_shared_seeds(out, label, specs)
    _check_weights(out, runs)
    # Runs that failed, or wrote no gate values, belong to the study too; the report names them.
    first = specs[0]
    lost = [r for r in wanted if r.asked.method == first.method and r not in runs and _alike(r.asked, first)]
    return Selection(label, tuple(sorted(runs, key=_order)), tuple(_why(record) for record in lost))


def _commonest(labels: Sequence[str]) -> str:
    """The label of most runs; the first in the alphabet where several have as many."""
    return max(sorted(set(labels)), key=labels.count)


def _check_weights(out: Path, runs: Sequence[Record]) -> None:
    """Refuses runs without weights, which a study has to load."""
    for record in runs:
        if not weights_path(out, record.digest).exists():
            raise UserError(
                f"{record.asked.title} kept no weights; run the comparison with --weights all, or choose with --seed"
            )


def seed_of(spec: RunSpec) -> str:
    """The seeds of a run as in its title: `0`, or `0/1` where data seed and model seed differ."""
    same = spec.data_seed == spec.model_seed
    return f"{spec.data_seed}" if same else f"{spec.data_seed}/{spec.model_seed}"


def _has_gates(out: Path, record: Record) -> bool:
    return record.status == "ok" and gates_path(out, record.digest).exists()


def _nothing_there(out: Path, gated: Sequence[RunSpec]) -> UserError:
    """The error where no gated run has that K and seed; it lists those that there are."""
    if not gated:
        return UserError(f"{out} holds no run of a gated method; try bench compare --preset gates --out {out}")
    sizes, seeds = {_size(spec.k) for spec in gated}, {seed_of(spec) for spec in gated}
    return UserError(
        f"{out} holds no run of a gated method at that --k and --seed; "
        f"there are K={_list(sizes)} and seeds {_list(seeds)}"
    )


def _check_same_setting(out: Path, label: str, specs: Sequence[RunSpec]) -> None:
    """Refuses runs at several K, or with several models, protocols, sources or revisions of a task."""
    sizes = {_size(spec.k) for spec in specs}
    if len(sizes) > 1:
        raise UserError(f"{out} holds runs of {label} at K={_list(sizes)}; choose one with --k")
    first = specs[0]
    if not all(_alike(spec, first) and spec.method == first.method for spec in specs):
        raise UserError(f"{out} holds runs of {label} with several models, protocols or sources; study one folder each")
    for task, runs in _by_task(specs).items():
        if len({spec.task for spec in runs}) > 1:
            raise UserError(f"{out} holds runs on several revisions of {task}; study one folder each")


def _check_seeds_of_tasks(label: str, specs: Sequence[RunSpec]) -> None:
    """Refuses one task with a single seed where another has more: the decomposition of variance needs both alike."""
    by_task = _by_task(specs)
    lone = [task for task, runs in by_task.items() if len(runs) == 1]
    if lone and len(lone) < len(by_task):
        raise UserError(
            f"{', '.join(lone)}: one seed of {label} where other tasks have more; run its other seeds, "
            f"or look at one seed alone with --seed {seed_of(by_task[lone[0]][0])}"
        )


def _check_shared_seeds(out: Path, label: str, specs: Sequence[RunSpec]) -> None:
    """Refuses runs of which only some share a data seed or a model seed, since they are not independent."""
    pairs = {(spec.data_seed, spec.model_seed) for spec in specs}
    data_seeds, model_seeds = (set(column) for column in zip(*pairs, strict=True))
    # Fine: one seed of this kind for all runs, or another for each.
    if any(len(seeds) not in (1, len(pairs)) for seeds in (data_seeds, model_seeds)):
        raise UserError(
            f"{out} holds runs of {label} of which some, not all, share rows or training: seeds "
            f"{_list({seed_of(spec) for spec in specs})} (data/model); choose some with --seed"
        )


def _by_task(specs: Sequence[RunSpec]) -> dict[str, list[RunSpec]]:
    """The specifications by the label of their task, in the order of the runs."""
    by_task: dict[str, list[RunSpec]] = {}
    for spec in specs:
        by_task.setdefault(spec.task.label, []).append(spec)
    return by_task


def _alike(one: RunSpec, other: RunSpec) -> bool:
    """Whether two runs have the same K, model and protocol."""
    return (one.k, one.model, one.protocol) == (other.k, other.model, other.protocol)


def _order(record: Record) -> tuple[str, int, int]:
    spec = record.asked
    return spec.task.label, spec.data_seed, spec.model_seed


def _why(record: Record) -> str:
    return f"{record.asked.title}: {record.reason or 'its gate values are not there'}"


def _size(k: int | None) -> str:
    return "all" if k is None else str(k)


def _list(names: Collection[str]) -> str:
    return ", ".join(sorted(names, key=lambda name: (len(name), name)))
