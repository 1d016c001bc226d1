"""Every figure that a table or figure shows, said once: label, unit, formula, meter, known error.

`docs/definitions.md`, the tables' footnotes, the page's hover texts and `bench report --columns` all read
this list. Print the document with `python -m reports.columns`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Group = Literal["score", "parameters", "effective", "flops", "memory", "time", "energy", "index"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One figure.

    Attributes:
        key: its name in records, frames and CSV; the unit is its ending.
        label: what tables call it.
        unit: of the figure as recorded; empty for a pure number.
        better: whether more or less of it is better; None if neither.
        says: what it is, in one sentence.
        formula: how it is computed.
        meter: what measures it.
        error: what is known to be wrong or missing in it.
        estimated: it is no measurement but a model's guess, and must not rank methods.
    """

    key: str
    label: str
    group: Group
    says: str
    formula: str
    meter: str
    error: str
    unit: str = ""
    better: Literal["higher", "lower"] | None = "lower"
    estimated: bool = False


GROUPS: dict[Group, str] = {
    "score": "Scores",
    "parameters": "Parameters",
    "effective": "Effective parameters",
    "flops": "FLOPs",
    "memory": "Memory",
    "time": "Time",
    "energy": "Energy",
    "index": "Composite indices",
}

_COUNT = "a sum over tensors: exact"
_LIVE = "a dispatch mode that adds every new tensor storage once and subtracts it when it dies"
_LIVE_ERROR = "exact for tensors; what a kernel allocates and frees within one call is not seen"
_FLOP_METER = "torch's FlopCounterMode on tensors without values, the forward pass confirmed by fvcore"
_FLOP_ERROR = (
    "elementwise operators, reductions, norms and the optimizer's update are not counted; those of the forward "
    "pass are named in the record"
)
_ENERGY_METER = "codecarbon's offline tracker, machine scope, per component with its source"

COLUMNS: tuple[Column, ...] = (
    Column(
        key="score",
        label="score",
        group="score",
        better="higher",
        says="The task's headline score of the chosen checkpoint on the held-out test rows.",
        formula="accuracy, macro or binary F1, Matthews, Pearson or Spearman, named beside the task",
        meter="scikit-learn and scipy",
        error="the spread over seeds is part of it: see the interval; undefined (constant predictions) is absent",
    ),
    Column(
        key="trained_parameters",
        label="trained",
        group="parameters",
        says="Parameters outside the head that require a gradient and got one in the first backward pass.",
        formula="sum of |theta| over tensors with a gradient, head excluded",
        meter=_COUNT,
        error="a tensor counts whole even if only some of its rows (token embeddings) get a gradient",
    ),
    Column(
        key="stored_parameters",
        label="stored",
        group="parameters",
        says="Parameters outside the head that have to be kept to deploy the model, beside the pretrained backbone.",
        formula="sum of |theta| that require a gradient after eject() dropped what training alone needed",
        meter=_COUNT,
        error="none known",
    ),
    Column(
        key="stored_share",
        label="share of backbone",
        group="parameters",
        says="Stored parameters over the parameters of the pretrained backbone.",
        formula="stored_parameters / backbone_parameters",
        meter=_COUNT,
        error="none known",
    ),
    Column(
        key="stored_bytes",
        label="stored bytes",
        unit="bytes",
        group="parameters",
        says="Size of the safetensors file that deployment needs: stored parameters and head.",
        formula="header + tensors, in the dtype they were trained in",
        meter="computed from shapes and names, equal to the written file",
        error="float32 throughout; no quantisation is assumed",
    ),
    Column(
        key="head_parameters",
        label="head",
        group="parameters",
        better=None,
        says="Parameters of the head: what lies outside the base model, and whatever its checkpoint did not hold.",
        formula="sum of |theta| of the head",
        meter=_COUNT,
        error="none known; the same for every method but those that train no head",
    ),
    Column(
        key="backbone_parameters",
        label="backbone",
        group="parameters",
        better=None,
        says="Parameters of the pretrained model without the head, before the method changed it.",
        formula="sum of |theta|",
        meter=_COUNT,
        error="a pooler that the head does not use is not loaded and not counted",
    ),
    Column(
        key="soft_parameters",
        label="soft",
        group="effective",
        says="Stored parameters of the parts, each weighted with its gate's mean value on the test rows.",
        formula="sum over parts of |theta| times mean gate, plus all parameters outside parts",
        meter="recorded gates of the chosen checkpoint; an ungated part counts with gate 1",
        error="a gate's scale is not identifiable: (g/c)(cW) = gW, so a small gate alone proves nothing",
    ),
    Column(
        key="active_parameters",
        label="active(0.1)",
        group="effective",
        says="Stored parameters of the parts, each times the share of test examples whose gate exceeds tau = 0.1.",
        formula="sum over parts of |theta| P(gate > tau), plus all parameters outside parts; a curve over tau",
        meter="recorded gates of the chosen checkpoint; an ungated part counts with gate 1",
        error="depends on tau, and on the gate's arbitrary scale",
    ),
    Column(
        key="participation_ratio",
        label="participation",
        group="effective",
        better=None,
        says="How many gates share the work.",
        formula="(sum of mean gates)^2 / sum of squared mean gates",
        meter="recorded gates of the chosen checkpoint",
        error="absent for methods without gates",
    ),
    Column(
        key="contributing_parameters",
        label="contributing(0.01)",
        group="effective",
        says="Stored parameters of the parts whose removal changes their site's output by more than rho = 1%.",
        formula="sum of |theta| over parts with mean of |y - y0| / |y0| > rho, plus all parameters outside parts",
        meter="each part's site run with and without the part on the same input, on the dev rows",
        error="a local change: what the following layers make of it is not in it",
    ),
    Column(
        key="verified_parameters",
        label="verified",
        group="effective",
        says=(
            "Parameters left after removing the parts of least contribution for as long as the dev score "
            "stays within epsilon = 0.01."
        ),
        formula="greedy removal on the dev rows, plus all parameters outside parts; the test score is checked after",
        meter="really removing parts and scoring again",
        error="greedy, so an upper bound of the smallest set; coarse where there are few dev rows",
    ),
    Column(
        key="verified_test_change",
        label="verified score change",
        group="effective",
        better="higher",
        says="What the removal behind the verified count did to the test score.",
        formula="test score with the parts left minus test score with all",
        meter="scored on the test rows",
        error="one number a run: read it with its interval over seeds",
    ),
    Column(
        key="infer_flops_per_example",
        label="inference FLOPs",
        unit="FLOPs",
        group="flops",
        says="FLOPs of the forward passes over the test rows, per example, at the lengths that were really run.",
        formula="2 a multiply-add of matrix products and attention, summed over the padded batches / examples",
        meter=_FLOP_METER,
        error=_FLOP_ERROR,
    ),
    Column(
        key="train_flops_per_example",
        label="training FLOPs",
        unit="FLOPs",
        group="flops",
        says="FLOPs of forward and backward pass in training, per example, at the lengths that were really run.",
        formula="as above; frozen weights need no weight gradient and are not charged for one",
        meter=_FLOP_METER,
        error=_FLOP_ERROR,
    ),
    Column(
        key="train_flops",
        label="training FLOPs of the run",
        unit="FLOPs",
        group="flops",
        says="FLOPs of all training steps of a run.",
        formula="training FLOPs per batch, summed over the run's batches",
        meter=_FLOP_METER,
        error=_FLOP_ERROR,
    ),
    Column(
        key="train_live_bytes",
        label="training memory",
        unit="bytes",
        group="memory",
        says="Peak bytes of live tensors in a training step on the run's largest batch.",
        formula="weights + gradients + optimizer state + activations at the moment of the peak",
        meter=_LIVE,
        error=_LIVE_ERROR,
    ),
    Column(
        key="train_weights_bytes",
        label="weights",
        unit="bytes",
        group="memory",
        says="Of the training peak: parameters and buffers.",
        formula="bytes of their storages",
        meter=_LIVE,
        error=_LIVE_ERROR,
    ),
    Column(
        key="train_gradients_bytes",
        label="gradients",
        unit="bytes",
        group="memory",
        says="Of the training peak: gradients of parameters.",
        formula="bytes of their storages",
        meter=_LIVE,
        error=_LIVE_ERROR,
    ),
    Column(
        key="train_optimizer_bytes",
        label="optimizer state",
        unit="bytes",
        group="memory",
        says="Of the training peak: AdamW's two moments.",
        formula="bytes of their storages",
        meter=_LIVE,
        error=_LIVE_ERROR,
    ),
    Column(
        key="train_activations_bytes",
        label="activations",
        unit="bytes",
        group="memory",
        says="Of the training peak: everything else, such as what is saved for the backward pass.",
        formula="peak minus the three other parts",
        meter=_LIVE,
        error=_LIVE_ERROR,
    ),
    Column(
        key="infer_live_bytes",
        label="inference memory",
        unit="bytes",
        group="memory",
        says="Peak bytes of live tensors in a forward pass on the largest evaluation batch, after eject().",
        formula="weights + activations at the moment of the peak",
        meter=_LIVE,
        error=_LIVE_ERROR,
    ),
    Column(
        key="resident_peak_bytes",
        label="resident memory",
        unit="bytes",
        group="memory",
        says="Resident high-water mark of a process of its own that trains and infers on the run's largest batches.",
        formula="VmHWM, reset after loading, over three training steps and a forward pass",
        meter="the kernel, in a child whose malloc hands freed blocks back at once; the first seed of a comparison",
        error="includes the interpreter and libraries (about 0.5 GB, the same for all); Linux and glibc alone",
    ),
    Column(
        key="cuda_allocated_bytes",
        label="CUDA allocated",
        unit="bytes",
        group="memory",
        says="Most bytes that torch had allocated on the GPU during training.",
        formula="torch.cuda.max_memory_allocated, reset before training",
        meter="torch's caching allocator",
        error="absent without a GPU",
    ),
    Column(
        key="cuda_reserved_bytes",
        label="CUDA reserved",
        unit="bytes",
        group="memory",
        says="Most bytes that torch had reserved on the GPU during training.",
        formula="torch.cuda.max_memory_reserved, reset before training",
        meter="torch's caching allocator",
        error="absent without a GPU; includes fragmentation",
    ),
    Column(
        key="train_step_ratio",
        label="step time / full",
        group="time",
        says="Time of a training step over that of full fine-tuning, in rounds in which every method takes its turn.",
        formula="median over rounds of the ratio within a round, with a bootstrap interval",
        meter="bench profile: one process, one shape, random order in each round",
        error="holds for the shape and machine named; a wide interval is flagged",
    ),
    Column(
        key="infer_ratio",
        label="inference time / bare",
        group="time",
        says="Time of a forward pass as deployed, unmerged, over that of the bare model, at the profile's batch size.",
        formula="median over rounds of the ratio within a round, with a bootstrap interval",
        meter="bench profile",
        error="holds for the shape and machine named; a wide interval is flagged",
    ),
    Column(
        key="infer_merged_ratio",
        label="merged inference / bare",
        group="time",
        says="The same after merge() folded what can be folded into the backbone's weights.",
        formula="median over rounds of the ratio within a round, with a bootstrap interval",
        meter="bench profile",
        error="equals the unmerged figure for what cannot be merged",
    ),
    Column(
        key="infer_single_ratio",
        label="inference time / bare, batch 1",
        group="time",
        says="The same, unmerged, for a single example.",
        formula="median over rounds of the ratio within a round, with a bootstrap interval",
        meter="bench profile",
        error="at batch 1 the cost is calls, not FLOPs",
    ),
    Column(
        key="train_time_s",
        label="train s",
        unit="s",
        group="time",
        says="Observed seconds of a run's training steps; loading, tokenising and evaluation stop the clock.",
        formula="wall clock around the steps, the device synchronised at both ends",
        meter="time.perf_counter",
        error="runs follow one another on a machine that drifts by 10%: no fair ratio between methods",
    ),
    Column(
        key="infer_time_s",
        label="test s",
        unit="s",
        group="time",
        says="Observed seconds of the forward passes over the test rows.",
        formula="wall clock around them, the device synchronised at both ends",
        meter="time.perf_counter",
        error="as for train s",
    ),
    Column(
        key="train_examples_per_s",
        label="training examples/s",
        unit="1/s",
        group="time",
        better="higher",
        says="Training throughput.",
        formula="examples trained on (with repetition) / train_time_s",
        meter="time.perf_counter",
        error="as for train s",
    ),
    Column(
        key="infer_examples_per_s",
        label="test examples/s",
        unit="1/s",
        group="time",
        better="higher",
        says="Inference throughput.",
        formula="test rows / infer_time_s",
        meter="time.perf_counter",
        error="as for train s",
    ),
    Column(
        key="train_tokens_per_s",
        label="training tokens/s",
        unit="1/s",
        group="time",
        better="higher",
        says="Training throughput in padded tokens.",
        formula="rows x padded length, summed over the run's batches / train_time_s",
        meter="time.perf_counter",
        error="padding counts as work, since it is computed; else as for train s",
    ),
    Column(
        key="infer_tokens_per_s",
        label="test tokens/s",
        unit="1/s",
        group="time",
        better="higher",
        says="Inference throughput in padded tokens.",
        formula="rows x padded length, summed over the test batches / infer_time_s",
        meter="time.perf_counter",
        error="as for training tokens/s",
    ),
    Column(
        key="train_energy_measured_joules",
        label="training energy, measured",
        unit="J",
        group="energy",
        says="Energy of the train phase read from the hardware's counters (RAPL, NVML).",
        formula="sum over the components that have a counter",
        meter=_ENERGY_METER,
        error="whole machine; absent where there is no counter",
    ),
    Column(
        key="train_energy_estimated_joules",
        label="training energy, estimated",
        unit="J",
        group="energy",
        estimated=True,
        says="Energy of the train phase of the components without a counter, as codecarbon estimates it.",
        formula="time x a constant power (TDP share of the CPU, 3 W per 8 GB of memory)",
        meter=_ENERGY_METER,
        error="wall time times a constant: it must not rank methods and is never added to measured joules",
    ),
    Column(
        key="train_co2e_kg",
        label="training CO2e",
        unit="kg",
        group="energy",
        estimated=True,
        says="Emissions of the train phase.",
        formula="energy x the yearly mean carbon intensity of the country's grid",
        meter=_ENERGY_METER,
        error="always an estimate; absent unless a country was given",
    ),
    Column(
        key="infer_energy_measured_joules",
        label="test energy, measured",
        unit="J",
        group="energy",
        says="Energy of the infer phase read from the hardware's counters.",
        formula="sum over the components that have a counter",
        meter=_ENERGY_METER,
        error="whole machine; absent where there is no counter",
    ),
    Column(
        key="infer_energy_estimated_joules",
        label="test energy, estimated",
        unit="J",
        group="energy",
        estimated=True,
        says="Energy of the infer phase of the components without a counter, as codecarbon estimates it.",
        formula="time x a constant power",
        meter=_ENERGY_METER,
        error="as for training",
    ),
)

BY_KEY: dict[str, Column] = {column.key: column for column in COLUMNS}


def document() -> str:
    """`docs/definitions.md`, whole."""
    lines = [
        "# Definitions of every figure",
        "",
        "Made by `python -m reports.columns > docs/definitions.md`; the tables' footnotes and the page use the same",
        "text. A figure that was not measured is absent, never 0. The head is left out of every parameter count",
        "but its own. `better` says which way a figure counts for a method.",
    ]
    for group, title in GROUPS.items():
        members = [column for column in COLUMNS if column.group == group]
        if not members:
            continue
        lines += ["", f"## {title}"]
        for column in members:
            lines += [
                "",
                f"### {column.label}",
                "",
                f"`{column.key}`{f', in {column.unit}' if column.unit else ''}. {column.says}",
                "",
                f"- Formula: {column.formula}.",
                f"- Meter: {column.meter}{' **An estimate.**' if column.estimated else '.'}",
                f"- Known error: {column.error}.",
                f"- Better: {column.better or 'neither'}.",
            ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(document(), end="")
