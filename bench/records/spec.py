"""Specifications: the protocol of a comparison, one run of it, and the digest that is the key of the run."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from bench.meters.allocator import Allocator
from methods import ADDED_FIELDS

if TYPE_CHECKING:
    from typing_extensions import Self

HeadKind = Literal["mean", "cls", "last", "native"]
PositiveInt = Annotated[int, Gt(0)]
Share = Annotated[float, Ge(0), Le(1)]


class Frozen(BaseModel):
    """A value object: immutable; an unknown field is an error, and so is a number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values.

        pydantic also copies what a `cached_property` computed from the old values; here that is dropped.
        """
        copied = super().model_copy(update=update, deep=deep)
        for name in vars(copied).keys() - type(self).model_fields.keys():
            del vars(copied)[name]
        return copied


class Protocol(Frozen):
    """How every method of a comparison is trained and evaluated, the same for all of them.

    This class and `Measures` are the one declaration of what can be set. An option of `bench compare`, a field of
    a config file, a keyword of `bench.compare` and a row of docs/options.md are made from each field: its name,
    type, default and docstring. To add one, write it here, at a default that leaves earlier runs as they were.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    dev: Annotated[int, Ge(0)] | Literal["k"] = 1000
    """Rows that choose the checkpoint, taken from the training data besides the K; k: as many as K."""
    epochs: PositiveInt | None = 10
    """Passes over the training rows; none where steps are set."""
    steps: PositiveInt | None = None
    """Optimizer steps, in place of epochs."""
    batch_size: PositiveInt = 16
    """Examples in a training step."""
    batches: Literal["random", "by-length"] = "random"
    """Which examples share a training batch; by-length: such of like length, so that fewer tokens are padding."""
    eval_batch_size: PositiveInt = 64
    """Examples in an evaluation batch."""
    max_length: PositiveInt = 128
    """Tokens that an example is cut to."""
    warmup_share: Share = 0.06
    """Share of the steps over which the learning rate rises from zero."""
    weight_decay: Annotated[float, Ge(0)] = 0.0
    """Weight decay of AdamW, for head and body."""
    max_gradient_norm: Annotated[float, Gt(0)] | None = None
    """Norm that the gradient is clipped to; none: it is never clipped."""
    evaluations: PositiveInt | None = None
    """How often the dev rows are scored, spread evenly over the epochs; none: after every epoch."""
    patience: PositiveInt | None = None
    """Evaluations without a better dev score after which training stops; none: it never stops early."""
    head_learning_rate: Annotated[float, Gt(0)] | None = 5e-3
    """Learning rate of the head where the method sets none; none: the learning rate of the body."""
    head: HeadKind | None = None
    """How hidden states become the input of the head; none: the usual way of the model."""
    precision: Literal["float32", "bf16"] = "float32"
    """Arithmetic of forward and backward pass; bf16: autocast on CUDA, with weights in float32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the runs compute; auto: on CUDA if there is a device."""
    threads: PositiveInt | None = None
    """CPU threads of torch; none: as many as the process may use."""

    @model_validator(mode="after")
    def _one_length(self) -> Protocol:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("set one of epochs and steps, and the other to none")
        return self

    @cached_property
    def key_text(self) -> str:
        """The fields that differ from their defaults, as text: this piece of a run's key."""
        return _canonical(self.model_dump(mode="json", exclude_defaults=True))

    def dev_rows(self, k: int | None) -> int:
        """How many rows choose the checkpoint when `k` (None: all) are trained on."""
        if self.dev == "k":
            return 1000 if k is None else k
        return self.dev


_SHORTER = {
    "tasks": "task",
    "meters": "meter",
    "batch_size": "batch",
    "eval_batch_size": "eval-batch",
    "warmup_share": "warmup",
    "profile_rounds": "rounds",
}
"""Field -> its option, where that is not the field's name with dashes."""


def option_of(field: str) -> str:
    """The option of the command line that sets a field, such as `--batch` for `batch_size`.

    Parsing, messages and the command that makes a run again all take it from here.
    """
    return f"--{_SHORTER.get(field, field.replace('_', '-'))}"


class Measures(Frozen):
    """What is measured besides scores and time. None of it changes a run, so none of it is in its digest."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    costs: bool = True
    """Measure FLOPs, memory and stored bytes, at the first seed of each method, task and K that finishes."""
    meters: tuple[str, ...] = ()
    """A meter beside those that come along: file.py:Class, or a name (bench list meters). Several may be given."""
    energy: bool = True
    """Measure the energy of training and inference where there is a counter, and estimate it elsewhere."""
    effective: bool = True
    """Measure effective parameters: active, contributing, verified."""
    country: str | None = None
    """Three-letter ISO code of the country whose grid CO2e is computed for; none: no CO2e."""
    pue: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0
    """Power usage effectiveness of the data centre. It multiplies CO2e, never joules, which are the machine's."""
    epsilon: Annotated[float, Ge(0)] = 0.01
    """How far the true accuracy may fall in the verified count of parameters."""
    verify_rows: PositiveInt = 1000
    """Most rows, neither trained on nor chosen on, on which the verified count tests a removal."""
    profile: bool = True
    """Time the methods against each other, once for each model."""
    profile_tokens: PositiveInt = 32
    """Padded length of the batches of the profile, in tokens."""
    profile_rounds: PositiveInt = 30
    """Rounds of the profile; every method takes its turn in each."""
    resident: bool = True
    """Measure the resident peak of memory too, in a process of its own."""
    allocator: Allocator = "keep"
    """keep: malloc keeps the blocks that a step frees, which changes no score; system: as the system has it."""
    weights: Literal["none", "small", "all"] = "small"
    """Whose weights are kept beside the record; small: of methods that store less than half of the backbone."""

    @model_validator(mode="after")
    def _meters_measure_costs(self) -> Measures:
        if self.meters and not self.costs:
            raise ValueError("meters measure costs; leave out the one or the other")
        return self

    def keeps(self, stored: int, backbone: int) -> bool:
        """Whether a run that stores so many parameters keeps them."""
        return self.weights == "all" or (self.weights == "small" and stored < backbone / 2)


class Preset(Frozen):
    """A comparison as data: each field is what an option of `bench compare` overrides."""

    title: str
    """One line for the help and the report."""
    methods: tuple[str, ...]
    """Method specifications."""
    tasks: tuple[str, ...]
    """Task names."""
    model: str
    """Model name."""
    ks: tuple[int | None, ...]
    """Training-set sizes in rows; None: all."""
    seeds: PositiveInt
    """How many seeds, counted from 0."""
    trials: PositiveInt | None = None
    """Draws of each search for hyper-parameters; None: there is no search."""
    protocol: Protocol
    """The rest of the setting."""
    measures: Measures = Measures()
    """What is measured besides scores and time."""
    method_defaults: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Method name -> hyper-parameters (learning rates) that this preset sets unless the user does."""


class MethodSpec(Frozen):
    """A method with all its hyper-parameters, as the registry resolved it."""

    name: str
    """What the registry resolves: a built-in's name, an entry point's, or `file.py:Class`."""
    label: str
    """What tables call it, such as `lora[r=16]`."""
    source: str
    """`built-in`, `package==version`, or the file's sha256."""
    fields: dict[str, Any]
    """Every hyper-parameter with its value."""

    @model_validator(mode="after")
    def _complete(self) -> MethodSpec:
        """Fills in hyper-parameters that an old record lacks, with the values that leave the method as it was."""
        for field, value in self._added.items():
            self.fields.setdefault(field, value)
        return self

    @property
    def _added(self) -> dict[str, Any]:
        """Hyper-parameters that were added later. For methods of others, `source` changes with their code instead."""
        return ADDED_FIELDS.get(self.name, {}) if self.source == "built-in" else {}

    @property
    def key_fields(self) -> dict[str, Any]:
        """The hyper-parameters in the key of a run: all but later ones at the value that changes nothing."""
        added = self._added
        return {name: value for name, value in self.fields.items() if name not in added or value != added[name]}

    @cached_property
    def key_text(self) -> str:
        """This piece of a run's key, as text: everything but the label."""
        key = self.model_dump(mode="json", exclude={"label"})
        key["fields"] = {name: key["fields"][name] for name in self.key_fields}
        return _canonical(key)

    def with_values(self, values: Mapping[str, Any]) -> MethodSpec:
        """The same method under the same label, with other values of some hyper-parameters."""
        return self.model_copy(update={"fields": {**self.fields, **values}})

    def without(self, names: Iterable[str]) -> MethodSpec:
        """The same without some hyper-parameters, for a key of what does not depend on them."""
        left = {name: value for name, value in self.fields.items() if name not in names}
        return self.model_copy(update={"fields": left})

    @property
    def spelled(self) -> str:
        """The method with every hyper-parameter, as the command line takes it and reads exactly these values back."""
        settings = ",".join(f"{field}={_exact(value)}" for field, value in self.fields.items())
        return f"{self.name}[{settings}]" if settings else self.name


def _canonical(value: Any) -> str:
    """A value as the one JSON text that keys are made of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _exact(value: Any) -> str:
    """A value as text from which exactly this value is read back."""
    if value is None:
        return "none"
    # A plain word needs no quotes. One that would be read as none, a bool or a number does.
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w.+:/-]*", value, re.ASCII)
    if plain and value.lower() not in {"none", "true", "false", "null", "nan", "inf", "infinity"}:
        return str(value)
    return json.dumps(value)


class TaskSpec(Frozen):
    """A task, with the source of its definition and the revision of its rows."""

    name: str
    """What the registry resolves: a shipped name, a folder, an entry point's name, `file.py:NAME`."""
    label: str
    """What tables call it."""
    source: str
    """Where its definition comes from, as for a method."""
    revision: str
    """Pins the rows: a wheel's sha256, a hub revision, a digest of the folder."""

    @cached_property
    def key_text(self) -> str:
        """This piece of a run's key, as text: everything but the label."""
        return _canonical(self.model_dump(mode="json", exclude={"label"}))


class ModelSpec(Frozen):
    """A backbone, with the revision of its weights."""

    name: str
    """A shipped name, a random shape, a folder, or a hub id."""
    revision: str
    """Pins the weights: sha256 of the file, hub commit, or the seed of random ones."""

    @cached_property
    def key_text(self) -> str:
        """This piece of a run's key, as text."""
        return _canonical(self.model_dump(mode="json"))


RATES = ("learning_rate", "head_learning_rate")
"""Hyper-parameters that are factors of the optimizer's update: no FLOPs, bytes or seconds depend on them."""


class Search(Frozen):
    """That a run belongs to a search for hyper-parameters: as a trial, or trained anew with what was chosen."""

    role: Literal["trial", "chosen"]
    """trial: it shows what some values score on the dev rows, and never sees a test row. chosen: it has the values of
    the best trial, fresh seeds, and is scored on the test rows."""
    trials: PositiveInt
    """How many draws each search of the comparison has. More of them prolong the same draws."""
    number: Annotated[int, Ge(0)]
    """Which search it is; its draws and its training rows depend on it."""
    draw: Annotated[int, Ge(0)] | None = None
    """A trial's place among the draws; from `trials` on it lies beyond an end of the range."""
    space: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Searched hyper-parameter -> the fields of its `bench.tuning.space.Axis`; empty: there is nothing to search."""
    at_edge: dict[str, Literal["low", "high"]] = Field(default_factory=dict)
    """Chosen: hyper-parameter -> the end of its range, extended ones included, at which the choice stands."""

    @property
    def key_text(self) -> str:
        """This piece of a run's key, as text. What led to a run's values does not change what comes out of it."""
        return _canonical("trial" if self.role == "trial" else f"chosen of {self.trials}")


class RunSpec(Frozen):
    """One run: everything that decides its outcome."""

    method: MethodSpec
    task: TaskSpec
    model: ModelSpec
    k: PositiveInt | None
    """Training rows; None: all."""
    data_seed: Annotated[int, Ge(0)]
    """Decides which rows are trained on."""
    model_seed: Annotated[int, Ge(0)]
    """Decides initial values, batch order and dropout."""
    protocol: Protocol
    search: Search | None = None
    """The search that it belongs to; none: its hyper-parameters were set."""

    @property
    def is_trial(self) -> bool:
        """Whether it is a trial of a search, which is scored on the dev rows alone."""
        return self.search is not None and self.search.role == "trial"

    @property
    def title(self) -> str:
        """A name of the run for progress and errors, such as `lora on trec, K=100, seed 0`."""
        size = "all" if self.k is None else self.k
        if self.search is not None and self.search.draw is not None:
            values = ", ".join(f"{name} {self.method.fields[name]}" for name in self.search.space)
            trial = f"search {self.search.number}, trial {self.search.draw + 1}"
            return f"{self.method.label} on {self.task.label}, K={size}, {trial}: {values}"
        seed = f"seed {self.data_seed}"
        if self.model_seed != self.data_seed:
            seed += f"/{self.model_seed}"
        return f"{self.method.label} on {self.task.label}, K={size}, {seed}"

    @cached_property
    def digest(self) -> str:
        """The run's key: 16 hex digits over all that decides the outcome.

        Of the protocol, a field at its default is left out, so that a later field does not change the keys of
        old records; hence a changed default must be a changed name. Of the method, every hyper-parameter is in
        the key, so that a changed default is another run; one that came later is left out where it changes
        nothing (`methods.ADDED_FIELDS`).
        """
        return self._digest(self.data_seed, self.model_seed)

    @property
    def seedless_digest(self) -> str:
        """One key for all runs that differ by their seeds alone: the digest of the one whose seeds are 0.

        Where they belong to searches, they may differ by their learning rates too, of which no cost depends.
        """
        return self._digest(0, 0, method=self.method if self.search is None else self.method.without(RATES))

    def _digest(self, data_seed: int, model_seed: int, *, method: MethodSpec | None = None) -> str:
        """The digest of this run with other seeds.

        It is taken over the run as JSON with sorted keys. A plan of many runs shares few methods, tasks and protocols,
        each of which makes its text once.
        """
        pieces = {
            "data_seed": str(data_seed),
            "k": "null" if self.k is None else str(self.k),
            "method": (method or self.method).key_text,
            "model": self.model.key_text,
            "model_seed": str(model_seed),
            "protocol": self.protocol.key_text,
        }
        if self.search is not None:
            pieces["search"] = self.search.key_text
        pieces["task"] = self.task.key_text
        text = ",".join(f'"{name}":{piece}' for name, piece in pieces.items())
        return hashlib.sha256(f"{{{text}}}".encode()).hexdigest()[:16]


class ProfileShape(Frozen):
    """The model, batch and rounds of a profile."""

    model: str
    """Name of the backbone."""
    batch: PositiveInt
    """Examples in a step; inference is timed for one example too."""
    tokens: PositiveInt
    """Padded length."""
    rounds: PositiveInt = 30
    """Number of rounds; every method takes its turn in each."""
    outputs: PositiveInt = 2
    """Logits of the head."""
    head: HeadKind | None = None
    """Kind of the head; None: the usual one of the model."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of the order of turns and of initial values."""


class ProfileJob(Frozen):
    """A profile, as a worker is given it."""

    methods: tuple[MethodSpec, ...]
    shape: ProfileShape
    protocol: Protocol
    allocator: Allocator = "keep"
    """Whether malloc keeps freed blocks, or is as the system has it."""


class AloneJob(Frozen):
    """What one meter measures of a run in a process of its own, after the run, as a worker is given it."""

    meter: str
    """What it is called by, as in `Measures.meters`."""
    alone_of: RunSpec
    train_shape: tuple[int, int]
    """(rows, padded length) of the largest training batch."""
    test_shape: tuple[int, int]
    """(rows, padded length) of the largest test batch."""


class Job(Frozen):
    """A run, as a worker is given it."""

    run: RunSpec
    measures: Measures = Measures()
    first: bool = True
    """Whether it measures costs that hardly differ by seed: no other seed of its method, task and K has."""
    command: str | None = None
    """What the user typed, for the record."""
    side_by_side: PositiveInt = 1
    """How many runs share the machine. With more than one none is timed, and each has its share of the CPU threads."""


AnyJob = Job | AloneJob | ProfileJob
"""What an executor has done."""


def job_of(text: str) -> AnyJob:
    """The job that stands in a JSON text, as `model_dump_json` of any of them writes it."""
    job: AnyJob = TypeAdapter(AnyJob).validate_json(text)
    return job
