"""What a record of a run holds: asked, came out, where. Old forms are brought up to date by `UPGRADES`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bench.config import RunSpec

SCHEMA = 1
"""Number of the record's form; whoever changes the form adds an entry to `UPGRADES`."""

UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""Schema number -> what makes a record of it one of the next number."""

Status = Literal["ok", "failed", "unsupported"]


class Stored(BaseModel):
    """A piece of a record. An absent figure was not measured."""

    model_config = ConfigDict(frozen=True, extra="ignore")


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


class Costs(Stored):
    """What a run cost, beside its time. Each figure is defined in docs/definitions.md; absent: not measured."""

    stored_bytes: int | None = None
    train_flops: int | None = None
    train_flops_per_example: float | None = None
    infer_flops: int | None = None
    infer_flops_per_example: float | None = None
    unsupported_operators: list[str] = Field(default_factory=list)
    """Did arithmetic in the forward pass and are not in the FLOPs."""
    train_live_bytes: int | None = None
    train_weights_bytes: int | None = None
    train_gradients_bytes: int | None = None
    train_optimizer_bytes: int | None = None
    train_activations_bytes: int | None = None
    infer_live_bytes: int | None = None
    resident_peak_bytes: int | None = None
    cuda_allocated_bytes: int | None = None
    cuda_reserved_bytes: int | None = None
    train_examples_per_s: float | None = None
    train_tokens_per_s: float | None = None
    infer_examples_per_s: float | None = None
    infer_tokens_per_s: float | None = None
    train_energy_measured_joules: float | None = None
    train_energy_estimated_joules: float | None = None
    train_co2e_kg: float | None = None
    infer_energy_measured_joules: float | None = None
    infer_energy_estimated_joules: float | None = None
    infer_co2e_kg: float | None = None
    energy_detail: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Phase -> component -> joules and source (rapl, nvml, estimated); scope and origin of the CPU's power."""
    absent: dict[str, str] = Field(default_factory=dict)
    """Figure -> why it was not measured."""


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
    verified_rows: int | None = None
    """Rows that the removal was tested on; absent in old records, whose removal was chosen on the dev rows alone."""
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


class Result(Stored):
    """What came out of a run. Scores: higher is better. Costs: lower is better, unit in the name."""

    kind: Literal["classes", "regression"]
    """Of the task's labels."""
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
    train_shape: tuple[int, int] | None = None
    """(rows, padded length) of the largest training batch."""
    test_shape: tuple[int, int] | None = None
    """(rows, padded length) of the largest test batch."""
    costs: Costs | None = None
    """Absent in records made before costs were measured, or where they were not asked for."""
    effective: Effective | None = None
    """Absent where it was not asked for, or the method has no parts."""


class Record(Stored):
    """One run: what was asked, what came out, where."""

    schema_number: int = SCHEMA
    digest: str
    """The run's key: of `asked`."""
    status: Status
    reason: str | None = None
    """Why it failed or is unsupported, in one line."""
    traceback: str | None = None
    """Of a failure inside Python."""
    asked: RunSpec
    result: Result | None = None
    environment: dict[str, Any]
    """Where: versions, commit, device, threads."""
    started_at: str
    """UTC, ISO 8601."""
    wall_time_s: float | None = None
    """Seconds of the whole run, loading and evaluation included; absent if it never began."""

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
