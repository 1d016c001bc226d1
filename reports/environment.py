"""Where runs were made, and the command that makes them again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from bench.store import Record

_OPTIONS = {
    "dev": "--dev",
    "epochs": "--epochs",
    "steps": "--steps",
    "batch_size": "--batch",
    "eval_batch_size": "--eval-batch",
    "max_length": "--max-length",
    "warmup_share": "--warmup",
    "patience": "--patience",
    "head_learning_rate": "--head-learning-rate",
    "head": "--head",
    "precision": "--precision",
    "device": "--device",
    "threads": "--threads",
}


def environments(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Each distinct environment with its number of runs, the most frequent first."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        facts = {name: value for name, value in record.environment.items() if name != "command"}
        known = found.setdefault(json.dumps(facts, sort_keys=True, default=str), {"runs": 0, "facts": _flat(facts)})
        known["runs"] += 1
    return sorted(found.values(), key=lambda entry: -entry["runs"])


def _flat(facts: dict[str, Any]) -> dict[str, str]:
    return {
        name: ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else str(value)
        for name, value in facts.items()
    }


def commands(records: Sequence[Record]) -> list[str]:
    """The commands as recorded; where none is, one for each model and protocol put together from the runs.

    A method is given with every hyper-parameter, so that no preset's default can come in between.
    """
    recorded = [record.environment.get("command") for record in records]
    if records and all(recorded):
        return list(dict.fromkeys(map(str, recorded)))
    groups: dict[str, list[Record]] = {}
    for record in records:
        key = record.asked.model.name + record.asked.protocol.model_dump_json()
        groups.setdefault(key, []).append(record)
    return [_command(group) for group in groups.values()]


def _command(records: Sequence[Record]) -> str:
    asked = [record.asked for record in records]
    words = ["bench", "compare"]
    words += dict.fromkeys(_method(one.method.name, one.method.fields) for one in asked)
    for task in dict.fromkeys(one.task.name for one in asked):
        words += ["--task", task]
    sizes = dict.fromkeys("all" if one.k is None else str(one.k) for one in asked)
    words += ["--model", asked[0].model.name, "--k", ",".join(sizes)]
    words += _seeds(sorted({(one.data_seed, one.model_seed) for one in asked}))
    for field, value in asked[0].protocol.model_dump().items():
        if field in _OPTIONS and not (value is None and field in ("steps", "epochs", "head", "threads")):
            words += [_OPTIONS[field], "none" if value is None else str(value)]
    return shlex.join(words)


def _seeds(seeds: list[tuple[int, int]]) -> list[str]:
    """`--seeds N` where data and model seed count up together; else one of them held."""
    if all(data == model for data, model in seeds):
        return ["--seeds", str(seeds[-1][0] + 1)]
    if len({data for data, _ in seeds}) == 1:
        return ["--seeds", str(max(model for _, model in seeds) + 1), "--data-seed", str(seeds[0][0])]
    return ["--seeds", str(max(data for data, _ in seeds) + 1), "--model-seed", str(seeds[0][1])]


def _method(name: str, fields: dict[str, Any]) -> str:
    settings = ",".join(f"{field}={_value(value)}" for field, value in fields.items())
    return f"{name}[{settings}]" if settings else name


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return "".join(map(str, value)) if all(len(str(item)) == 1 for item in value) else "+".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
