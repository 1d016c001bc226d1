"""The environments in which runs were made, and the commands that make these runs again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, takewhile
from typing import Any

from bench.records.spec import RunSpec
from bench.records.store import Record
from bench.records.study import Fields, settings_of, words_of


def environments(records: Sequence[Record]) -> list[dict[str, Any]]:
    """The distinct environments of runs, the most frequent first: `runs`, how many, and `facts`, name -> text."""
    entries: dict[str, dict[str, Any]] = {}
    for record in records:
        facts = {name: value for name, value in record.environment.items() if name != "command"}
        entry = entries.setdefault(json.dumps(facts, sort_keys=True, default=str), {"runs": 0, "facts": _flat(facts)})
        entry["runs"] += 1
    return sorted(entries.values(), key=lambda entry: -entry["runs"])


def _flat(facts: dict[str, Any]) -> dict[str, str]:
    return {
        name: ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else str(value)
        for name, value in facts.items()
    }


def commands(records: Sequence[Record]) -> list[str]:
    """The commands that make these runs again: the recorded ones, or others made from the specifications of the runs.

    Each command asks for no run that is not among the records. It states every field of the protocol and every
    hyper-parameter, so that no default of a preset or of a later version can come in between.
    """
    recorded = [record.environment.get("command") for record in records]
    if records and all(recorded):
        return list(dict.fromkeys(map(str, recorded)))
    return [shlex.join(["bench", "compare", *words_of(study)]) for study in studies(records)]


def studies(records: Sequence[Record]) -> list[Fields]:
    """The fields of comparisons that make these runs again and no others, in few comparisons.

    Every field of the protocol and every hyper-parameter is stated. Fields of `Measures` are not in a record, and so
    not here.
    """
    groups: dict[str, list[RunSpec]] = {}
    for record in records:
        key = record.asked.model.name + record.asked.protocol.model_dump_json()
        groups.setdefault(key, []).append(record.asked)
    return [
        {**study, "model": group[0].model.name, **settings_of(group[0].protocol)}
        for group in groups.values()
        for study in _products(group)
    ]


def _products(runs: Sequence[RunSpec]) -> Iterator[Fields]:
    """Splits runs into comparisons of methods, tasks, sizes and seeds, all of whose combinations are among the runs."""
    cells = [
        (run.task.name, "all" if run.k is None else str(run.k), run.method.spelled, (run.data_seed, run.model_seed))
        for run in runs
    ]
    for tasks, rest in _alike((task, cell) for task, *cell in cells):
        for sizes, rest_of_size in _alike((size, cell) for size, *cell in rest):
            for methods, seeds in _alike(rest_of_size):
                for fields in _seeds({seed for (seed,) in seeds}):
                    yield {"methods": methods, "tasks": tasks, "k": sizes, **fields}


def _alike(pairs: Iterable[Sequence[Any]]) -> list[tuple[list[str], list[tuple[Any, ...]]]]:
    """Groups the keys that occur with exactly the same rests, and gives each group with these rests.

    >>> _alike([("a", 1), ("a", 2), ("b", 1), ("b", 2), ("c", 1)])
    [(['a', 'b'], [(1,), (2,)]), (['c'], [(1,)])]
    """
    rests: dict[str, dict[tuple[Any, ...], None]] = {}
    for key, *rest in pairs:
        flat = rest[0] if len(rest) == 1 and isinstance(rest[0], list) else rest
        rests.setdefault(key, {})[tuple(flat)] = None
    groups: dict[frozenset[tuple[Any, ...]], list[str]] = {}
    for key, pairs_of_key in rests.items():
        groups.setdefault(frozenset(pairs_of_key), []).append(key)
    return [(keys, list(rests[keys[0]])) for keys in groups.values()]


def _seeds(pairs: set[tuple[int, int]]) -> Iterator[Fields]:
    """Fields that together give these (data seed, model seed) pairs and no others.

    The field `seeds` is used where both seeds count up from 0 together, and with one seed fixed where the other counts
    up alone. A pair that is in no such row has both seeds fixed.
    """
    rows = [(_row(pairs, lambda n: (n, n)), Fields())]
    rows += [
        (_row(pairs, lambda n, seed=seed: (seed, n)), {"data_seed": seed})  # type: ignore[misc]
        for seed in sorted({data for data, _ in pairs})
    ]
    rows += [
        (_row(pairs, lambda n, seed=seed: (n, seed)), {"model_seed": seed})  # type: ignore[misc]
        for seed in sorted({model for _, model in pairs})
    ]
    left = set(pairs)
    for row, held in sorted(rows, key=lambda entry: -len(entry[0])):
        if (len(row) > 1 or not held) and not left.isdisjoint(row):
            yield {"seeds": len(row), **held}
            left -= set(row)
    for data, model in sorted(left):
        yield {"data_seed": data, "model_seed": model}


def _row(pairs: set[tuple[int, int]], pair: Callable[[int], tuple[int, int]]) -> list[tuple[int, int]]:
    """The pairs of 0, 1, 2, ... up to the first that is not among `pairs`."""
    return list(takewhile(pairs.__contains__, map(pair, count())))
