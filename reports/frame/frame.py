"""From records to one row a run: what was asked, what came out, every figure of `reports.columns.document`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from bench.records.spec import Search
from bench.records.store import Record
from reports.columns.document import BY_KEY
from reports.frame.profiles import Fit, Profiles, fits, row_of
from reports.frame.searches import tuning_figures
from reports.frame.trials import without_trials

if TYPE_CHECKING:
    import pandas as pd

By = Literal["task", "k", "model"]
BYS: tuple[By, ...] = ("task", "k", "model")
"""What a table's columns can be; the other two then tell its settings apart."""

PROFILED = {
    "train_step_ratio": "train_step",
    "infer_ratio": "infer",
    "infer_merged_ratio": "infer_merged",
    "infer_single_ratio": "infer_single",
}
"""Figures that stand in a profile of the model, not in a run's record, and their names there."""

FOLDER_MARK = " @"
"""Stands in a label between the method and the folder that it is from, where folders repeat runs."""


def frame(records: Iterable[Record], profiles: Profiles | None = None) -> pd.DataFrame:
    """One row a run; a figure that was not measured is missing. Units are in the columns' names.

    Args:
        records: of one comparison.
        profiles: of its models; a run gets the ratios of one that was made in the run's own setting, or the
            reason why there is none.
    """
    import pandas as pd

    every = list(records)
    tuning = tuning_figures(every)
    records = without_trials(every)
    labels = unique_labels(records)
    profiled = fits(records, profiles or {})
    rows = [_row(*each) for each in zip(records, labels, profiled, strict=True)]
    for row, (figures, absent) in zip(rows, tuning, strict=True):
        row |= figures
        if absent and "absent" in row:
            row["absent"] |= absent
    runs: pd.DataFrame = pd.DataFrame(rows)
    return runs


def curves(records: Iterable[Record]) -> pd.DataFrame:
    """One row an evaluation while training: digest, method, step, epoch, train_loss, score (on dev)."""
    import pandas as pd

    records = without_trials(records)
    rows = [
        {
            "digest": record.digest,
            "method": label,
            "step": seen.step,
            "epoch": seen.epoch,
            "train_loss": seen.train_loss,
            "score": seen.scores.get(record.result.headline),
        }
        for record, label in zip(records, unique_labels(records), strict=True)
        if record.result is not None
        for seen in record.result.curve
    ]
    columns = ["digest", "method", "step", "epoch", "train_loss", "score"]
    evaluations: pd.DataFrame = pd.DataFrame(rows, columns=columns)
    return evaluations


def _row(record: Record, label: str, fit: Fit) -> dict[str, Any]:
    asked, result = record.asked, record.result
    protocol = protocol_words(asked.protocol)
    if asked.search is not None:  # chosen among more or fewer trials it is no rival of equal means
        protocol = ", ".join(filter(None, [search_words(asked.search), protocol]))
    row: dict[str, Any] = {
        "setting": ", ".join([asked.model.name, size_words(asked.k), *([protocol] if protocol else [])]),
        "method": label,
        "method_name": asked.method.name,
        "task": asked.task.label,
        "model": asked.model.name,
        "k": "all" if asked.k is None else str(asked.k),
        "protocol": protocol,
        "data_seed": asked.data_seed,
        "model_seed": asked.model_seed,
        "seed": f"{asked.data_seed}/{asked.model_seed}",
        "status": record.status,
        "reason": record.reason,
        "digest": record.digest,
        "wall_time_s": record.wall_time_s,
        "allocator": record.environment.get("allocator", "not recorded"),
    }
    if result is None:
        return row
    row |= {
        "headline": result.headline,
        "score": result.test_scores.get(result.headline),
        "backbone_parameters": result.backbone_parameters,
        "stored_share": result.stored_parameters / result.backbone_parameters,
        "train_examples": result.train_examples,
        # Of a user's task: those that come along were looked at, and the made-up one repeats itself by design.
        "repeated_examples": None if asked.task.source == "built-in" else getattr(result, "repeated_examples", None),
        "test_examples": result.test_examples,
        "absent": {},
        "steps": result.steps,
    }
    for source in (result, result.effective):
        if source is not None:
            row |= {name: value for name, value in vars(source).items() if name in BY_KEY and _is_figure(value)}
            row["absent"] |= getattr(source, "absent", {})
    if result.costs is not None:
        # Figures that neither a meter of ours nor the record declares are kept in the record and shown nowhere.
        declared = {column.key: column for column in result.costs.columns if column.key not in BY_KEY}
        row |= {key: value for key, value in result.costs.figures.items() if key in BY_KEY or key in declared}
        row["absent"] = result.costs.absent | row["absent"]
        row["declared"] = declared
    row["energy_source"] = _energy_source({} if result.costs is None else result.costs.notes.get("energy_detail", {}))
    ratios, absent = _ratios(record, fit)
    row["absent"] = absent | row["absent"]
    if ratios and fit.profile is not None:
        row |= {"profile": fit.words, "profile_suspect": fit.profile.suspect, **ratios}
    return row


def _energy_source(detail: Mapping[str, Any]) -> str | None:
    """`cpu rapl, memory estimated`: what the joules of training come from; None where there are none."""
    parts = [f"{name} {part['source']}" for name, part in detail.get("train", {}).items() if isinstance(part, dict)]
    return ", ".join(parts) or None


def _is_figure(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _ratios(record: Record, fit: Fit) -> tuple[dict[str, float], dict[str, str]]:
    """The time ratios of a run's method with their intervals, and why others are absent."""
    if fit.profile is None:
        return {}, {} if fit.reason is None else dict.fromkeys(PROFILED, fit.reason)
    row, reason = row_of(fit.profile, record, record.asked.method.label.partition(FOLDER_MARK)[0])
    if row is None:
        return {}, dict.fromkeys(PROFILED, reason or "not in the profile")
    found: dict[str, float] = {}
    absent: dict[str, str] = {}
    for key, name in PROFILED.items():
        timed = getattr(row, name)
        why = row.absent.get(name) or (row.unmerged if name == "infer_merged" else None)
        if timed is not None:
            found |= {key: timed.ratio, f"{key}_low": timed.low, f"{key}_high": timed.high}
        elif why is not None:
            absent[key] = why
    return found, absent


def size_words(k: int | None) -> str:
    """`K=100`, `K=all`."""
    return f"K={'all' if k is None else k}"


@cache
def protocol_words(protocol: BaseModel) -> str:
    """What of the protocol is not at its default, in words."""
    values = protocol.model_dump(exclude_defaults=True)
    if values.get("dev") == "k":
        values["dev"] = "rows as K"
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())


def search_words(search: Search) -> str:
    """How the hyper-parameters were chosen: `best of 12 trials`."""
    return f"best of {search.trials} trials" if search.trials > 1 else "one trial"


def unique_labels(records: Sequence[Record]) -> list[str]:
    """A label for each record's method; those that share one but differ get what they differ in added.

    Two runs must never be averaged because an edited plug-in or another preset's learning rate goes by
    the same name.
    """
    variants: dict[str, dict[str, dict[str, Any]]] = {}
    keys = []
    for record in records:
        method = record.asked.method
        if record.asked.search is not None:  # what was searched differs from seed to seed
            method = method.without(record.asked.search.space)
        key = f"{method.source} {method.fields}"
        keys.append((method.label, key))
        known = variants.setdefault(method.label, {})
        if key not in known:
            known[key] = {**method.fields, "code": method.source}
    names = {
        (label, key): label + _distinction(facts, list(known.values()))
        for label, known in variants.items()
        for key, facts in known.items()
    }
    return [names[key] for key in keys]


def _distinction(facts: Mapping[str, Any], variants: Sequence[Mapping[str, Any]]) -> str:
    """` (learning_rate=0.001)`: the fields in which variants of one label differ; empty for a single one."""
    differing = [name for name in facts if len({str(other.get(name)) for other in variants}) > 1]
    words = [f"{name}={str(facts[name])[:24]}" for name in differing]
    return f" ({', '.join(words)})" if words else ""
