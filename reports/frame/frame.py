"""Makes a data frame of records: one row a run, with its specification, its status and all of its figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from bench.records.spec import RunSpec, Search
from bench.records.store import Record
from reports.columns.document import BY_KEY
from reports.frame.profiles import Fit, Profiles, fits, row_of
from reports.frame.searches import tuning_figures
from reports.frame.trials import without_trials

if TYPE_CHECKING:
    import pandas as pd

By = Literal["task", "k", "model"]
BYS: tuple[By, ...] = ("task", "k", "model")
"""What the columns of a table can be. Runs that differ in one of the other two stand in different tables."""

PROFILED = {
    "train_step_ratio": "train_step",
    "infer_ratio": "infer",
    "infer_merged_ratio": "infer_merged",
    "infer_single_ratio": "infer_single",
}
"""Key of a figure that is measured in a profile of the model and not in a run -> its name in the profile."""

FOLDER_MARK = " @"
"""Separates method and folder in a label such as `lora @out2`, where several folders hold the same run."""


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
    protocol = setting_words(asked)
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
        # Shown for tasks of users only: the shipped ones were checked, and the made-up one repeats rows by design.
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
        shape = f"{fit.profile.batch} x {fit.profile.tokens} tokens"
        row |= {"profile": fit.words, "profile_suspect": fit.profile.suspect, "profile_shape": shape, **ratios}
    return row


def _energy_source(detail: Mapping[str, Any]) -> str | None:
    """`cpu rapl, memory estimated`: what the joules of training come from; None where there are none."""
    parts = [f"{name} {part['source']}" for name, part in detail.get("train", {}).items() if isinstance(part, dict)]
    return ", ".join(parts) or None


def _is_figure(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _ratios(record: Record, fit: Fit) -> tuple[dict[str, float], dict[str, str]]:
    """The time ratios of a run's method with their intervals and median milliseconds, and why others are absent."""
    if fit.profile is None:
        return {}, {} if fit.reason is None else dict.fromkeys(PROFILED, fit.reason)
    row, reason = row_of(fit.profile, record, record.asked.method.label.partition(FOLDER_MARK)[0])
    if row is None:
        return {}, dict.fromkeys(PROFILED, reason or "not in the profile")
    ratios: dict[str, float] = {}
    absent: dict[str, str] = {}
    for key, name in PROFILED.items():
        timed = getattr(row, name)
        why = row.absent.get(name) or (row.unmerged if name == "infer_merged" else None)
        if timed is not None:
            ratios |= {key: timed.ratio, f"{key}_low": timed.low, f"{key}_high": timed.high}
            ratios[f"{key}_p50_ms"] = timed.p50_ms
        elif why is not None:
            absent[key] = why
    return ratios, absent


def size_words(k: int | None) -> str:
    """`K=100`, `K=all`."""
    return f"K={'all' if k is None else k}"


@cache
def protocol_words(protocol: BaseModel) -> str:
    """The fields of a protocol that are not at their defaults, in words such as `epochs 5, batch size 8`."""
    values = protocol.model_dump(exclude_defaults=True)
    if values.get("dev") == "k":
        values["dev"] = "rows as K"
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())


def setting_words(run: RunSpec) -> str:
    """How a run was tuned, and what of its protocol is not at its default: runs that differ in it do not compare."""
    tuned = [] if run.search is None else [search_words(run.search)]
    return ", ".join(filter(None, [*tuned, protocol_words(run.protocol)]))


def search_words(search: Search) -> str:
    """How the hyper-parameters were chosen: `best of 12 trials`."""
    return f"best of {search.trials} trials" if search.trials > 1 else "one trial"


def unique_labels(records: Sequence[Record]) -> list[str]:
    """A label for the method of each record. Where methods of one label differ, the fields that differ are added.

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
        variants_of_label = variants.setdefault(method.label, {})
        if key not in variants_of_label:
            variants_of_label[key] = {**method.fields, "code": method.source}
    names = {
        (label, key): label + _distinction(facts, list(variants_of_label.values()))
        for label, variants_of_label in variants.items()
        for key, facts in variants_of_label.items()
    }
    return [names[key] for key in keys]


def _distinction(facts: Mapping[str, Any], variants: Sequence[Mapping[str, Any]]) -> str:
    """` (learning_rate=0.001)`: the fields in which variants of one label differ; empty for a single one."""
    differing = [name for name in facts if len({str(other.get(name)) for other in variants}) > 1]
    words = [f"{name}={str(facts[name])[:24]}" for name in differing]
    return f" ({', '.join(words)})" if words else ""
