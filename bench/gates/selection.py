"""Which finished runs a gate study looks at: of one method, at one K, model and protocol, with seeds that compare."""

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
        method: their label.
        runs: all of them finished, with gate values and weights.
        left_out: of each run that was asked for and is not among them, its title and why.
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
    """Chooses the runs of a study; never mixes what does not compare.

    Args:
        out: the comparison's folder.
        records: all of them.
        method: a label; None takes that of most runs.
        ks: the one size that is looked at; None where there is one only.
        seeds: as titles call them, such as `0` or `0/1` (data, model); empty takes all.

    Raises:
        UserError: there are no such runs, or they do not compare; says what to choose.
    """
    wanted = [r for r in records if (ks is None or r.asked.k in ks) and (not seeds or seed_of(r.asked) in seeds)]
    gated = [record for record in wanted if _has_gates(out, record)]
    known = {seed_of(record.asked) for record in gated}
    if not gated or set(seeds) - known:
        raise _nothing_there(out, [record.asked for record in records if _has_gates(out, record)])
    labels = [record.asked.method.label for record in gated]
    label = method or max(sorted(set(labels)), key=labels.count)
    runs = [record for record in gated if record.asked.method.label == label]
    if not runs:
        raise UserError(f"--method {method}: the gated methods in {out} are {', '.join(sorted(set(labels)))}")
    _check_comparable(out, label, [record.asked for record in runs])
    for record in runs:
        if not weights_path(out, record.digest).exists():
            raise UserError(
                f"{record.asked.title} kept no weights; run the comparison with --weights all, or choose with --seed"
            )
    first = runs[0].asked
    lost = [r for r in wanted if r.asked.method == first.method and r not in runs and _alike(r.asked, first)]
    return Selection(label, tuple(sorted(runs, key=_order)), tuple(_why(record) for record in lost))


def seed_of(asked: RunSpec) -> str:
    """A run's seeds as its title calls them: `0`, or `0/1` where data and model seed differ."""
    same = asked.data_seed == asked.model_seed
    return f"{asked.data_seed}" if same else f"{asked.data_seed}/{asked.model_seed}"


def _has_gates(out: Path, record: Record) -> bool:
    return record.status == "ok" and gates_path(out, record.digest).exists()


def _nothing_there(out: Path, gated: Sequence[RunSpec]) -> UserError:
    """Why there is nothing to look at, and what there is instead."""
    if not gated:
        return UserError(f"{out} holds no run of a gated method; try bench compare --preset gates --out {out}")
    sizes, seeds = {_size(asked.k) for asked in gated}, {seed_of(asked) for asked in gated}
    return UserError(
        f"{out} holds no run of a gated method at that --k and --seed; "
        f"there are K={_list(sizes)} and seeds {_list(seeds)}"
    )


def _check_comparable(out: Path, label: str, asked: Sequence[RunSpec]) -> None:
    """Refuses runs that one study must not mix."""
    sizes = {_size(one.k) for one in asked}
    if len(sizes) > 1:
        raise UserError(f"{out} holds runs of {label} at K={_list(sizes)}; choose one with --k")
    first = asked[0]
    if not all(_alike(one, first) and one.method == first.method for one in asked):
        raise UserError(f"{out} holds runs of {label} with several models, protocols or sources; study one folder each")
    tasks: dict[str, list[RunSpec]] = {}
    for one in asked:
        tasks.setdefault(one.task.label, []).append(one)
    for task, runs in tasks.items():
        if len({one.task for one in runs}) > 1:
            raise UserError(f"{out} holds runs on several revisions of {task}; study one folder each")
    counts = {task: len(runs) for task, runs in tasks.items()}
    if min(counts.values()) == 1 < max(counts.values()):
        lone = [task for task, count in counts.items() if count == 1]
        alone = seed_of(tasks[lone[0]][0])
        raise UserError(
            f"{', '.join(lone)}: one seed of {label} where other tasks have more; run its other seeds, "
            f"or look at one seed alone with --seed {alone}"
        )
    pairs = {(one.data_seed, one.model_seed) for one in asked}
    each = [len(set(column)) for column in zip(*pairs, strict=True)]
    if any(count not in (1, len(pairs)) for count in each):
        raise UserError(
            f"{out} holds runs of {label} of which some, not all, share rows or training: seeds "
            f"{_list({seed_of(one) for one in asked})} (data/model); choose some with --seed"
        )


def _alike(one: RunSpec, other: RunSpec) -> bool:
    return (one.k, one.model, one.protocol) == (other.k, other.model, other.protocol)


def _order(record: Record) -> tuple[str, int, int]:
    asked = record.asked
    return asked.task.label, asked.data_seed, asked.model_seed


def _why(record: Record) -> str:
    return f"{record.asked.title}: {record.reason or 'its gate values are not there'}"


def _size(k: int | None) -> str:
    return "all" if k is None else str(k)


def _list(names: Collection[str]) -> str:
    return ", ".join(sorted(names, key=lambda name: (len(name), name)))
