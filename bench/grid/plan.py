"""A comparison: what is asked becomes runs; all is checked and fetched before the first of them starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from pydantic import Field

from bench.errors import UserError
from bench.meters.allocator import expected
from bench.records.spec import Frozen, Measures, PositiveInt, ProfileJob, ProfileShape, Protocol, RunSpec
from bench.records.store import RecordFolder, read_profiles
from bench.registry.executors import DEFAULT

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from bench.registry.methods import ResolvedMethod
    from bench.registry.tasks import ResolvedTask
    from bench.tuning.space import Space


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
        on: the executor that does the runs, which no run's key and no result depends on.
        jobs: how many runs are made side by side; of more than one no time is measured.
        trials: draws of each search for hyper-parameters; None: there is no search, they are as they were set.
        searches: how many searches there are for each method, task and size; None: as many as seeds.
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
    on: str = DEFAULT
    jobs: PositiveInt = 1
    trials: int | None = None
    searches: int | None = None


@dataclass(frozen=True)
class Plan:
    """The runs of a comparison, and why some of them cannot be.

    Attributes:
        runs: in the order in which they are done.
        unsupported: digest -> reason.
        measures: what is measured besides scores and time.
        remarks: what the user should know of the data before the first run, a line each.
        jobs: how many runs may be made side by side on one machine; of more than one no time is measured.
        spaces: label of a method -> what a search tries; a method that is not there has nothing to search.
    """

    runs: list[RunSpec]
    unsupported: dict[str, str]
    measures: Measures = field(default_factory=Measures)
    remarks: tuple[str, ...] = ()
    spaces: Mapping[str, Space] = field(default_factory=dict)
    jobs: int = 1

    @property
    def timed(self) -> bool:
        """Whether the times of the runs are measured."""
        return self.jobs == 1


def plan(request: Request) -> Plan:
    """Resolves every name, fetches every source and tries every split.

    Raises:
        UserError: the first thing that is wrong.
    """
    from bench.registry.meters import meter_sources
    from bench.registry.methods import resolve_method
    from bench.registry.tasks import resolve_task
    from bench.sources.models import fetch_model, find

    methods = [resolve_method(text, preset=request.method_defaults) for text in request.methods]
    tasks = [resolve_task(text) for text in request.tasks]
    find(request.model)
    _refuse_clashes([task.spec.label for task in tasks], "tasks")
    check_protocol(request.protocol)
    check_country(request.measures.country)
    meter_sources(request.measures.meters)  # refuses what is no meter
    backbone = fetch_model(request.model)
    config = backbone.config()
    check_length(request.protocol, config, request.model)
    if request.trials and request.protocol.dev == 0:
        raise UserError("--trials needs dev rows to choose on; --dev 0 leaves none")
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
    spaces = _spaces(request.methods, methods) if request.trials else {}
    return Plan(runs, refused, request.measures, tuple(remarks), spaces, request.jobs)


def _spaces(texts: Sequence[str], methods: Sequence[ResolvedMethod]) -> dict[str, Space]:
    """Label of a method -> what a search tries: its space, without the hyper-parameters that the user set.

    Args:
        texts: the methods as the user named them.
        methods: what they stand for, in the same order.
    """
    from bench.registry.methods import parse
    from bench.tuning.space import space_of

    spaces = {}
    for text, method in zip(texts, methods, strict=True):
        _, typed = parse(text)
        declared = {name: axis for name, axis in method.method.space.items() if name not in typed}
        if declared:
            spaces[method.spec.label] = space_of(declared, fields=method.spec.fields)
    return spaces


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


def profile_job(todo: Plan, folder: RecordFolder) -> ProfileJob | None:
    """The profile that this folder still lacks, over every method that has a finished run on the model.

    None where there is one of these methods in this setting, none is asked for, or no run has finished. Where all of
    these runs have a head of as many outputs, so has the profile; else it has two, which reports say.
    """
    if not todo.measures.profile or not todo.runs:
        return None
    first = todo.runs[0]
    here = folder.records()
    done = [
        record
        for record in here
        if record.result is not None and record.asked.model == first.model and not record.asked.is_trial
    ]
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
    if any(known.holds(setting, methods) for known in read_profiles(folder.out).values()):
        return None
    return ProfileJob(methods=tuple(methods.values()), shape=shape, protocol=first.protocol, allocator=allocator)


def refuse_other_meanings(todo: Plan, folder: RecordFolder) -> None:
    """Refuses a folder in which a task or method of this comparison's labels meant something else.

    Raises:
        UserError: such a label, and the remedy.
    """
    tasks = {run.task.label: run.task for run in todo.runs}
    methods = {run.method.label: run.method for run in todo.runs}
    for record in folder.records():
        old_task, old_method = record.asked.task, record.asked.method
        task, method = tasks.get(old_task.label), methods.get(old_method.label)
        for what, old, new in (("task", old_task, task), ("method", old_method, method)):
            if new is not None and (old.name, old.source) != (new.name, new.source):
                raise UserError(f"{folder.out} holds runs of another {what} called {new.label!r}; use a new --out")
        if task is not None and old_task.revision != task.revision:
            raise UserError(f"{folder.out} holds runs on other rows of task {task.label}; use a new --out")
