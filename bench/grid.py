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

from bench.allocator import expected
from bench.config import Frozen, Job, Measures, ProfileJob, ProfileShape, Protocol, RunSpec
from bench.environment import command_line
from bench.errors import UserError
from bench.progress import display
from bench.store import Record, finished, read_profiles, read_records, runs_folder, write_record

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from bench.executor import LocalExecutor
    from bench.registry import ResolvedMethod
    from bench.task_registry import ResolvedTask


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
    """

    runs: list[RunSpec]
    unsupported: dict[str, str]
    measures: Measures = field(default_factory=Measures)


def plan(request: Request) -> Plan:
    """Resolves every name, fetches every source and tries every split.

    Raises:
        UserError: the first thing that is wrong.
    """
    from bench.models import fetch, find
    from bench.registry import resolve_method
    from bench.task_registry import resolve_task

    methods = [resolve_method(text, preset=request.method_defaults) for text in request.methods]
    tasks = [resolve_task(text) for text in request.tasks]
    find(request.model)
    _refuse_clashes([task.spec.label for task in tasks], "tasks")
    check_protocol(request.protocol)
    backbone = fetch(request.model)
    config = backbone.config()
    check_length(request.protocol, config, request.model)
    backbone.tokenizer()
    for task in tasks:
        check_data(task, request)
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
    return Plan(runs, refused, request.measures)


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


def check_length(protocol: Protocol, config: PretrainedConfig, model: str) -> None:
    """Refuses texts longer than the model has positions."""
    most = getattr(config, "max_position_embeddings", None)
    if most is not None and config.model_type in {"roberta", "xlm-roberta", "camembert"}:
        most -= config.pad_token_id + 1  # their positions are counted from behind the padding's
    if most is not None and protocol.max_length > most:
        raise UserError(f"max length {protocol.max_length} is more than the {most} positions of {model}")


def check_data(task: ResolvedTask, request: Request) -> None:
    """Fetches a task's rows and draws every split of it."""
    from bench.data import load_rows, split

    rows = load_rows(task.task)
    for k, seed in product(request.ks, set(request.data_seeds)):
        try:
            split(rows, k=k, dev=request.protocol.dev_rows(k), seed=seed)
        except UserError as error:
            raise UserError(f"task {task.spec.label}: {error}") from error


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
    with display(len(runs)) as show:
        for number, spec in enumerate(runs, start=1):
            show.start(spec, number)
            if spec.digest in todo.unsupported:
                record = refuse(spec, todo.unsupported[spec.digest])
                write_record(out, record)
            else:
                record = executor.run(job_of(spec, todo), out, report=show.update)
            show.end(record)
            yield record


def job_of(spec: RunSpec, todo: Plan) -> Job:
    """A run as a worker is given it; costs are measured at the first seed of its method, task and K."""
    alike = [run for run in todo.runs if (run.method, run.task, run.k) == (spec.method, spec.task, spec.k)]
    first = spec.digest == alike[0].digest
    return Job(run=spec, measures=todo.measures, first=first, command=command_line())


def profile_job(todo: Plan, out: Path) -> ProfileJob | None:
    """The profile that this folder still lacks, over every method that has a finished run on the model.

    None where there is one of these methods in this setting, none is asked for, or no run has finished.
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
    shape = ProfileShape(
        model=first.model.name,
        batch=first.protocol.batch_size,
        tokens=min(todo.measures.profile_tokens, first.protocol.max_length),
        rounds=todo.measures.profile_rounds,
        head=first.protocol.head,
    )
    from bench.profile import setting_of

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
