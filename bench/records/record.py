"""What a record of a run holds: asked, came out, where. Old forms are brought up to date by `UPGRADES`."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, ValidationInfo, model_validator

from bench.meters import columns, shipped
from bench.meters.column import Column
from bench.meters.meter import measured_keys
from bench.records.spec import RATES, MethodSpec, RunSpec
from bench.tasks import kinds

if TYPE_CHECKING:
    from typing_extensions import Self

SCHEMA = 2
"""Number of the record's form; whoever changes the form adds an entry to `UPGRADES`."""


def _with_open_figures(record: dict[str, Any]) -> dict[str, Any]:
    """From 1 to 2: a cost was a field of its own, and what it rests on stood beside it."""
    result = record.get("result") or {}
    if not isinstance(result.get("costs"), dict):
        return record
    costs = dict(result["costs"])
    absent = costs.pop("absent", {})
    figures = {name: value for name, value in costs.items() if _is_number(value)}
    notes = {name: value for name, value in costs.items() if name not in figures and value is not None}
    return record | {"result": {**result, "costs": {"figures": figures, "absent": absent, "notes": notes}}}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _with_open_figures}
"""Schema number -> what makes a record of it one of the next number."""

Status = Literal["ok", "failed", "unsupported"]


_READING = {"reading": True}
"""The validation context of what comes from a file."""


class Stored(BaseModel):
    """A piece of a record. An absent figure was not measured.

    Whoever makes one must spell its fields as they are: an unknown name raises, else a misspelt figure would be
    lost without a word. `read` takes what another version wrote and leaves out what this one does not know.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def read(cls, data: object) -> Self:
        """Makes one from what stands in a file.

        Args:
            data: as `json.loads` gives it.

        Raises:
            ValidationError: a field is missing or has another type.
        """
        return cls.model_validate(data, context=_READING)

    @model_validator(mode="before")
    @classmethod
    def _without_unknown(cls, data: Any, info: ValidationInfo) -> Any:
        """While reading, drops the fields of another version, in the pieces inside too."""
        if info.context is not _READING or not isinstance(data, dict):
            return data
        return {name: value for name, value in data.items() if name in cls.model_fields}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values; pydantic itself does not look at their names.

        Raises:
            ValueError: a name that is no field.
        """
        unknown = sorted(set(update or ()) - set(type(self).model_fields))
        if unknown:
            raise ValueError(f"{type(self).__name__} has no field {', '.join(unknown)}")
        return super().model_copy(update=update, deep=deep)


class Evaluation(Stored):
    """One look at the dev rows during training."""

    epoch: int
    """Passes over the training rows so far, from 1."""
    step: int
    """Optimizer steps so far."""
    train_loss: float
    """Mean over the steps since the last evaluation."""
    scores: dict[str, float]
    """On the dev rows; an undefined score is absent."""
    gates: dict[str, float] = Field(default_factory=dict)
    """`layer.part` -> mean gate on the dev rows."""


COUNTED = (
    "train_flops",
    "train_flops_per_example",
    "infer_flops",
    "infer_flops_per_example",
    "train_live_bytes",
    "infer_live_bytes",
)
"""In records made before meters said it themselves: what was measured at one seed of each method, task and K."""

STILL_ALONE = "the child process that measures it has not run"
"""Why a figure is absent that a meter has yet to measure in a process of its own, after the run."""

Number = StrictInt | StrictFloat


class Costs(Stored):
    """What a run cost, beside its time. A figure that was not measured is absent, never 0.

    Figures are checked against the columns that meters declare where one is made, and not where one is read: those of
    meters that are not installed here are kept.

    Examples:
        >>> costs = Costs(figures={"train_flops": 5}, absent={"cuda_allocated_bytes": "the device is cpu, not cuda"})
        >>> costs.figures.get("train_flops"), costs.figures.get("cuda_allocated_bytes"), costs.counted
        (5, None, True)
    """

    figures: dict[str, Number] = Field(default_factory=dict)
    """Key of a column -> the figure, in the column's unit."""
    absent: dict[str, str] = Field(default_factory=dict)
    """Key of a column, or `effective` -> why it was not measured."""
    notes: dict[str, Any] = Field(default_factory=dict)
    """What figures rest on: `energy_detail`, phase -> component -> joules and source, and where the power of the CPU is
    from; `unsupported_operators`, which did arithmetic in the forward pass and are not in the FLOPs."""
    meters: dict[str, str] = Field(default_factory=dict)
    """Name -> source of the meters that measured beside the shipped ones: `package==version`, or the file's sha256."""
    columns: list[Column] = Field(default_factory=list)
    """The columns that these declare, so that a report made elsewhere knows what the figures mean."""

    @model_validator(mode="after")
    def _declared(self, info: ValidationInfo) -> Costs:
        if info.context is _READING:
            return self
        declared = {*columns(), *(column.key for column in self.columns)}
        for key, figure in self.figures.items():
            if key not in declared:
                raise ValueError(f"no meter declares {key}")
            if not math.isfinite(figure):
                raise ValueError(f"{key} is {figure}, which is no figure")
        unknown = sorted(set(self.absent) - declared - {"effective"})
        if unknown:
            raise ValueError(f"no meter declares {', '.join(unknown)}")
        return self

    @property
    def counted(self) -> bool:
        """Whether what is measured at one seed of a setting was measured in this run, and not left to another seed."""
        once = {key for meter in shipped() if not meter.every_seed for key in measured_keys(meter)}
        return bool(self.figures.keys() & (once - {"resident_peak_bytes"}))

    def with_answer(self, figures: Mapping[str, int | float], absent: Mapping[str, str]) -> Costs:
        """The same with figures that were measured later, or with the reasons why they could not be."""
        left = {key: why for key, why in self.absent.items() if key not in figures}
        return self.model_copy(update={"figures": {**self.figures, **figures}, "absent": {**left, **absent}})


UNTESTED = "chosen and tested on the same rows, by an earlier version"
SUPERSEDED = "tested by an earlier version, whose rule does not hold for every score and every row"
"""Why a verified count that stands in a file is not taken over: without rows of its own, and with."""


class Effective(Stored):
    """Effective parameters of the chosen checkpoint; see docs/definitions.md."""

    parts: int
    """How many there are."""
    part_parameters: int
    """Of all parts; the rest of what is stored (gates) always counts."""
    soft_parameters: float | None = None
    active_parameters: float | None = None
    participation_ratio: float | None = None
    contributing_parameters: float | None = None
    verified_parameters: int | None = None
    verified_parts: list[str] = Field(default_factory=list)
    """Names of the parts left."""
    verified_epsilon: float | None = None
    """What was asked for; absent where no epsilon would make a difference."""
    verified_rows: int | None = None
    """Rows that the removal was tested on."""
    verified_on: Literal["spare", "half of dev"] | None = None
    """Which rows these are. spare: of the task, without a part in training or in any choice. half of dev: no part was
    chosen on them, but they are among those that chose the checkpoint."""
    verified_bound: float | None = None
    """One-sided 95% lower bound of the true score change by the removal, at most 0."""
    verified_test_change: float | None = None
    active_curve: list[tuple[float, float]] = Field(default_factory=list)
    """(tau, parameters)."""
    contributing_curve: list[tuple[float, float]] = Field(default_factory=list)
    """(rho, parameters)."""
    contributions: dict[str, float] = Field(default_factory=dict)
    """Part -> mean contribution on the dev rows."""
    gates: dict[str, float] = Field(default_factory=dict)
    """`layer.part` -> mean gate on the test rows."""
    idle: dict[str, float] = Field(default_factory=dict)
    """What else is known to idle: effective rank, dead units, biases that did not move."""
    absent: dict[str, str] = Field(default_factory=dict)
    """Figure -> why it was not measured."""

    @model_validator(mode="before")
    @classmethod
    def _without_untested(cls, data: Any, info: ValidationInfo) -> Any:
        """While reading, drops a verified count of an earlier version, whose guarantee is not today's.

        Without parts there is nothing to test, and the count stays.
        """
        if info.context is not _READING or not isinstance(data, dict) or not data.get("parts"):
            return data
        if data.get("verified_parameters") is None or data.get("verified_on") is not None:
            return data
        kept = {name: value for name, value in data.items() if not name.startswith("verified_")}
        reason = UNTESTED if data.get("verified_rows") is None else SUPERSEDED
        return kept | {"absent": {**data.get("absent", {}), "verified_parameters": reason}}

    def answers(self, epsilon: float) -> bool:
        """Whether the verified count, or the reason why there is none, is that of this epsilon and of today's rule."""
        reason = self.absent.get("verified_parameters")
        return reason not in (UNTESTED, SUPERSEDED) and self.verified_epsilon in (None, epsilon)


class Result(Stored):
    """What came out of a run. Scores: higher is better. Costs: lower is better, unit in the name."""

    kind: str
    """Name of the task's kind (`bench.tasks.kinds`)."""
    headline: str
    """The score that chose the checkpoint and that tables show."""
    test_scores: dict[str, float]
    """On the task's held-out rows; an undefined score is absent."""
    dev_scores: dict[str, float] | None = None
    """On the dev rows, of the chosen checkpoint; absent if nothing was trained."""
    curve: list[Evaluation] = Field(default_factory=list)
    """Every evaluation during training."""
    best_epoch: int | None = None
    """Of the chosen checkpoint."""
    steps: int = 0
    """Optimizer steps taken."""
    trained_parameters: int
    """Require a gradient and got one; without the head."""
    stored_parameters: int
    """Have to be kept to deploy, beside the backbone; without the head."""
    draws_again: bool = False
    """Whether deploying needs frozen random numbers that are not stored: a seed has to give them again."""
    head_parameters: int
    """Of the head that was trained."""
    backbone_parameters: int
    """Of the pretrained model without the head and before the method changed it."""
    train_examples: int
    """Training rows."""
    dev_examples: int
    """Rows that chose the checkpoint."""
    test_examples: int
    """Rows scored on."""
    classes: list[str] | None = None
    """Names of the classes, in the order of the logits."""
    train_time_s: float | None = None
    """Observed seconds of the training steps alone; absent if nothing was trained."""
    infer_time_s: float | None = None
    """Observed seconds of the forward passes over the test rows."""
    head_kind: str
    """How hidden states become outputs."""
    learning_rate: float
    """AdamW's, for the backbone."""
    head_learning_rate: float
    """AdamW's, for the head."""
    data_digest: str
    """sha256 of the rows used."""
    repeated_examples: int | None = None
    """Test rows whose text stands in the training or dev rows too; absent in records made before it was counted."""
    train_shape: tuple[int, int] | None = None
    """(rows, padded length) of the largest training batch."""
    test_shape: tuple[int, int] | None = None
    """(rows, padded length) of the largest test batch."""
    costs: Costs | None = None
    """Absent in records made before costs were measured, or where they were not asked for."""
    effective: Effective | None = None
    """Absent where it was not asked for, or the method has no parts."""

    @property
    def outputs(self) -> int | None:
        """Logits of the head; None where the record does not tell."""
        kind = kinds().get(self.kind)
        return None if kind is None else kind.outputs(self.classes) or None


class Record(Stored):
    """One run: what was asked, what came out, where."""

    schema_number: int = SCHEMA
    digest: str
    """The run's key: of `asked`."""
    status: Status
    reason: str | None = None
    """In one line, why it failed or is unsupported; of one that is ok, why it is not complete."""
    complete: bool = True
    """Whether the run came to its end. One that died while its costs were measured keeps its scores, and is done again
    where costs are asked for."""
    traceback: str | None = None
    """Of a failure inside Python."""
    asked: RunSpec
    result: Result | None = None
    environment: dict[str, Any]
    """Where: versions, commit, device, threads; `side_by_side`, how many runs shared the machine, if others did."""
    started_at: str
    """UTC, ISO 8601."""
    wall_time_s: float | None = None
    """Seconds of the whole run, loading and evaluation included; absent if it never began or was not run alone."""

    @property
    def side_by_side(self) -> int:
        """How many runs shared the machine. Of more than one no time and no energy was measured."""
        return int(self.environment.get("side_by_side", 1))

    def as_json(self, *, indent: int | None = None) -> str:
        """The record as JSON. A figure that was not measured is absent; what was asked stays whole."""
        data = self.model_dump(mode="json", exclude_none=True)
        data["asked"] = self.asked.model_dump(mode="json")  # none is a setting there
        return json.dumps(data, indent=indent, allow_nan=False)


class Timing(Stored):
    """One step's time over the reference's, in interleaved rounds."""

    ratio: float
    """Median over rounds of the ratio within a round."""
    low: float
    """Lower end of its 95% bootstrap interval."""
    high: float
    """Upper end."""
    p50_ms: float
    """Median milliseconds on this machine."""
    p95_ms: float
    """95th percentile of the milliseconds."""
    rounds: int
    """How many rounds it rests on."""
    wide: bool
    """The interval is too wide to rely on."""


class ProfileRow(Stored):
    """The times of one method; absent where it has no such step."""

    train_step: Timing | None = None
    infer: Timing | None = None
    infer_merged: Timing | None = None
    infer_single: Timing | None = None
    unmerged: str | None = None
    """What merge() should have folded and could not, and why; then `infer_merged` is absent."""
    absent: dict[str, str] = Field(default_factory=dict)
    """Figure (`train_step`, ...) -> why there is none."""


class ProfileSetting(Stored):
    """All that the times of a profile depend on, beside its methods."""

    model: str
    revision: str
    """Of the weights."""
    head: str
    """Its kind, resolved."""
    outputs: int
    """Logits of the head."""
    batch: int
    tokens: int
    rounds: int
    threads: int
    device: str
    """`cpu` or `cuda`, never `auto`."""
    device_name: str | None = None
    """The processor's or the GPU's name for itself; absent where the system does not tell."""
    precision: str
    max_gradient_norm: float | None = None
    """Norm that the gradient is clipped to; absent: never clipped."""
    allocator: str
    """What was in force, as `bench.meters.allocator.in_force` words it."""
    torch: str
    transformers: str
    methods_code: str | None = None
    """Digest of the built-in methods' code; absent in profiles made before it was recorded."""


def timed_alike(method: MethodSpec, other: MethodSpec) -> bool:
    """Whether two specifications take the same time: the same code and fields, whatever the learning rates.

    The learning rates are factors of the optimizer's update; no time depends on them.
    """
    return _timed_by(method) == _timed_by(other)


def _timed_by(method: MethodSpec) -> dict[str, Any]:
    fields = {name: value for name, value in method.model_dump(mode="json")["fields"].items() if name not in RATES}
    return {"name": method.name, "source": method.source, "fields": fields}


class Profile(Stored):
    """Times of several methods against each other, on one model at one shape."""

    schema_number: int = SCHEMA
    model: str
    batch: int
    """Examples in a step."""
    tokens: int
    """Padded length."""
    rounds: int
    train_reference: str
    """The method, or else what trains the whole backbone, whose step time is 1."""
    infer_reference: str
    """Whose forward pass is 1."""
    threads: int
    device: str
    environment: dict[str, Any]
    rows: dict[str, ProfileRow]
    """By the method's label."""
    setting: ProfileSetting | None = None
    """The key, with `methods`; absent in profiles made before there was one."""
    methods: dict[str, MethodSpec] = Field(default_factory=dict)
    """Label -> the method that was timed; empty in profiles made before this was recorded."""
    controls: dict[str, Timing] = Field(default_factory=dict)
    """What takes the same time as its reference by construction -> its time over the reference's."""
    suspect: str | None = None
    """Which control is off 1, so that no ratio is to be relied on; absent: none is."""
    repeated: str | None = None
    """Why the profile was measured a second time; absent: it was not."""
    measured_at: str | None = None
    """UTC, ISO 8601."""

    @property
    def digest(self) -> str | None:
        """8 hex digits over the key, of which file names are made; None for a profile without one."""
        if self.setting is None:
            return None
        key = {
            "setting": self.setting.model_dump(mode="json"),
            "methods": {label: _timed_by(method) for label, method in self.methods.items()},
        }
        return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:8]

    def holds(self, setting: ProfileSetting, methods: Mapping[str, MethodSpec]) -> bool:
        """Whether it is a profile of this setting, of as many rounds at least, with all these methods.

        One without a key, or marked as suspect, is not.
        """
        if self.setting is None or self.suspect is not None or self.setting.rounds < setting.rounds:
            return False
        same = self.setting.model_copy(update={"rounds": setting.rounds}) == setting
        return same and all(
            label in self.methods and timed_alike(self.methods[label], method) for label, method in methods.items()
        )
