"""A comparison: what is asked becomes runs; all is checked and fetched before the first of them starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from bench.environment import command_line
from bench.errors import UserError
from bench.grid.display import display
from bench.meters.allocator import expected
from bench.records.spec import Frozen, Job, Measures, ProfileJob, ProfileShape, Protocol, RunSpec
from bench.records.store import Record, finished, read_profiles, read_record, read_records, runs_folder, write_record

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from bench.grid.executor import LocalExecutor
    from bench.registry.methods import ResolvedMethod
    from bench.registry.tasks import ResolvedTask


class Request(Frozen):
    """What one `bench compare` asks for.

    Attributes:
        methods: specifications such as `lora[r=16]`.
        tasks: names.
        model: name.
        ks: training-set sizes in rows; None: all.
        data_seeds: decide the rows; paired with `model_seeds`.
        model_seeds: decide initial values, batch order and dropout.
        protocol: the rest.
        measures: what is measured besides scores and time.
        method_defaults: method name -> hyper-parameters that hold unless a specification sets them.
    """

    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    model: str
    ks: tuple[int | None, ...]
    data_seeds: tuple[int, ...]
    model_seeds: tuple[int, ...]
    protocol: Protocol
    measures: Measures = Measures()
    method_defaults: dict[str, dict[str, Any]] = Field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """The runs of a comparison, and why some of them cannot be.

    Attributes:
        runs: in the order in which they are done.
        unsupported: digest -> reason.
        measures: what is measured besides scores and time.
        remarks: what the user should know of the data before the first run, a line each.
    """

    runs: list[RunSpec]
    unsupported: dict[str, str]
    measures: Measures = field(default_factory=Measures)
    remarks: tuple[str, ...] = ()


def plan(request: Request) -> Plan:
    """Resolves every name, fetches every source and tries every split.

    Raises:
        UserError: the first thing that is wrong.
    """
    from bench.registry.methods import resolve_method
    from bench.registry.tasks import resolve_task
    from bench.sources.models import fetch, find

    methods = [resolve_method(text, preset=request.method_defaults) for text in request.methods]
    tasks = [resolve_task(text) for text in request.tasks]
    find(request.model)
    _refuse_clashes([task.spec.label for task in tasks], "tasks")
    check_protocol(request.protocol)
    check_country(request.measures.country)
    backbone = fetch(request.model)
    config = backbone.config()
    check_length(request.protocol, config, request.model)
    backbone.tokenizer()
    backbone.check_weights()
    remarks = [remark for task in tasks for remark in check_data(task, request)]
    protocol = request.protocol.model_copy(update={"head": request.protocol.head or backbone.head})
    runs = [
        RunSpec(
            method=method.spec,
            task=task.spec,
            model=backbone.spec,
            k=k,
            data_seed=data_seed,
            model_seed=model_seed,
            protocol=protocol,
        )
        for (data_seed, model_seed), k, task, method in product(
            zip(request.data_seeds, request.model_seeds, strict=True), request.ks, tasks, unique(methods)
        )
    ]
    reasons = {method.spec.label: method.refusal(config) for method in methods}
    refused = {run.digest: reason for run in runs if (reason := reasons[run.method.label]) is not None}
    return Plan(runs, refused, request.measures, tuple(remarks))


def unique(methods: list[ResolvedMethod]) -> list[ResolvedMethod]:
    """Each method once, however often and in whatever spelling it was named.

    Raises:
        UserError: two methods of one name.
    """
    found: dict[str, ResolvedMethod] = {}
    for method in methods:
        other = found.setdefault(method.spec.label, method)
        if other.spec != method.spec:
            raise UserError(
                f"{other.spec.name} and {method.spec.name} are both called {method.spec.label!r}; rename one"
            )
    return list(found.values())


def _refuse_clashes(labels: list[str], what: str) -> None:
    for label, count in Counter(labels).items():
        if count > 1:
            raise UserError(f"{count} {what} are called {label!r}; name each once, and folders apart")


def check_protocol(protocol: Protocol) -> None:
    """Refuses a device or a precision that this machine lacks."""
    import torch

    if protocol.device == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA device here; use --device cpu")
    if protocol.precision == "bf16" and (protocol.device == "cpu" or not torch.cuda.is_available()):
        raise UserError("precision bf16 needs a CUDA device; use --precision float32")


def check_country(country: str | None) -> None:
    """Refuses a country whose grid is not known, so that no run ends without the CO2e that was asked for.

    Raises:
        UserError: the code is unknown, or two letters long.
    """
    if country is None:
        return
    from bench.errors import near
    from bench.meters.energy import countries

    known = countries()
    if country.upper() not in known:
        raise UserError(
            f"--country {country}: no energy mix is known for it{near(country.upper(), known)} "
            "(three-letter ISO codes, such as FRA)"
        )


def check_length(protocol: Protocol, config: PretrainedConfig, model: str) -> None:
    """Refuses texts longer than the model has positions."""
    from methods.kit.sites import positions  # imports torch

    most = positions(config)
    if most is not None and protocol.max_length > most:
        raise UserError(f"max length {protocol.max_length} is more than the {most} positions of {model}")


def check_data(task: ResolvedTask, request: Request) -> list[str]:
    """Fetches a task's rows and draws a split of every size; the seed decides which rows, never how many.

    Returns:
        What to know of the rows, a line each; of a task that comes along nothing, for it was looked at.
    """
    from bench.sources.split import load_rows, remarks, split

    rows = load_rows(task.task)
    for k in request.ks:
        try:
            split(rows, k=k, dev=request.protocol.dev_rows(k), seed=request.data_seeds[0], kind=task.task.kind)
        except UserError as error:
            raise UserError(f"task {task.spec.label}: {error}") from error
    return [] if task.spec.source == "built-in" else remarks(rows, task.task)


def run_grid(todo: Plan, out: Path, executor: LocalExecutor) -> Iterator[Record]:
    """Does the runs that are not done yet, one after another; a failed one stops nothing.

    Args:
        todo: all runs of the comparison.
        out: its folder, which the caller has claimed.
        executor: does one run.

    Yields:
        The record of each run that was done now.

    Raises:
        UserError: the folder holds a damaged record.
    """
    refuse_other_meanings(todo, out)
    done = finished(out, todo.measures)
    runs = [run for run in todo.runs if run.digest not in done]
    counted = counted_settings(out, again={run.digest for run in runs})
    with display(len(runs)) as show:
        for number, spec in enumerate(runs, start=1):
            show.start(spec, number)
            if spec.digest in todo.unsupported:
                record = refuse(spec, todo.unsupported[spec.digest])
                write_record(out, record)
            else:
                job = Job(
                    run=spec, measures=todo.measures, first=_seedless(spec) not in counted, command=command_line()
                )
                record = executor.run(job, out, report=show.update)
                if _counted(record):
                    counted.add(_seedless(spec))
            show.end(record)
            yield record


def counted_settings(out: Path, *, again: set[str]) -> set[str]:
    """The settings whose FLOPs and memory were measured at some seed in this folder.

    Args:
        out: the comparison's folder.
        again: digests of runs that are about to be done again, which replaces what they measured.
    """
    records = map(read_record, sorted(runs_folder(out).glob("*.json")))
    return {_seedless(record.asked) for record in records if record.digest not in again and _counted(record)}


def _counted(record: Record) -> bool:
    costs = None if record.result is None else record.result.costs
    return costs is not None and costs.counted and record.complete


def _seedless(spec: RunSpec) -> str:
    """One key for the runs that differ by their seeds alone."""
    return spec.model_copy(update={"data_seed": 0, "model_seed": 0}).digest


def profile_job(todo: Plan, out: Path) -> ProfileJob | None:
    """The profile that this folder still lacks, over every method that has a finished run on the model.

    None where there is one of these methods in this setting, none is asked for, or no run has finished. Where all of
    these runs have a head of as many outputs, so has the profile; else it has two, which reports say.
    """
    if not todo.measures.profile or not todo.runs:
        return None
    first = todo.runs[0]
    here = read_records(out) if any(runs_folder(out).glob("*.json")) else []
    done = [record for record in here if record.result is not None and record.asked.model == first.model]
    methods = {record.asked.method.label: record.asked.method for record in done}
    if not methods:
        return None
    methods |= {run.method.label: run.method for run in todo.runs if run.method.label in methods}
    outputs = {record.result.outputs for record in done if record.result is not None}
    shape = ProfileShape(
        model=first.model.name,
        outputs=next(iter(outputs)) or 2 if len(outputs) == 1 else 2,
        batch=first.protocol.batch_size,
        tokens=min(todo.measures.profile_tokens, first.protocol.max_length),
        rounds=todo.measures.profile_rounds,
        head=first.protocol.head,
    )
    from bench.costs.profile import setting_of

    allocator = todo.measures.allocator
    setting = setting_of(shape, first.protocol, expected(allocator))
    if any(known.holds(setting, methods) for known in read_profiles(out).values()):
        return None
    return ProfileJob(methods=tuple(methods.values()), shape=shape, protocol=first.protocol, allocator=allocator)


def refuse_other_meanings(todo: Plan, out: Path) -> None:
    """Refuses a folder in which a task or method of this comparison's labels meant something else.

    Raises:
        UserError: such a label, and the remedy.
    """
    if not any(runs_folder(out).glob("*.json")):
        return
    for record in read_records(out):
        for run in todo.runs:
            for what, old, new in (("task", record.asked.task, run.task), ("method", record.asked.method, run.method)):
                if old.label == new.label and (old.name, old.source) != (new.name, new.source):
                    raise UserError(f"{out} holds runs of another {what} called {new.label!r}; use a new --out")
            if record.asked.task.label == run.task.label and record.asked.task.revision != run.task.revision:
                raise UserError(f"{out} holds runs on other rows of task {run.task.label}; use a new --out")


def refuse(spec: RunSpec, reason: str) -> Record:
    """The record of a run that the method cannot do on this model."""
    from bench.environment import versions

    return Record(
        digest=spec.digest,
        status="unsupported",
        reason=reason,
        asked=spec,
        environment={"versions": versions()},
        started_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
