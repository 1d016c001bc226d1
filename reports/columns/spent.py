"""What a run spends: time and energy."""

from __future__ import annotations

from bench.meters.column import Column

_ENERGY_METER = "codecarbon's offline tracker, machine scope, per component with its source"

_ESTIMATE = (
    "CPU: time x TDP x (0.1 + 0.9 load^3), load of the whole machine from 0 to 1; memory: time x 5 W a slot (1.5 W on "
    "ARM), the slots guessed from the machine's size; PUE 1"
)

SPENT: tuple[Column, ...] = (
    Column(
        key="train_step_ratio",
        label="step time / full",
        group="time",
        says="Time of a training step over that of full fine-tuning, in rounds in which every method takes its turn.",
        formula="median over rounds of the ratio within a round, with a bootstrap interval",
        meter="bench profile: one process, one shape, random order in each round; malloc keeps freed blocks unless "
        "--allocator system, with which full faults its gradients' pages in anew at each step and reads slower",
        error="holds for the shape, machine and setting named below the table, and is shown beside runs of that setting "
        "alone, whose head may have another number of outputs, which is then said; the interval is of one process, and another process may differ by more; an interval wider than 10% of "
        "the ratio is marked !; a profile in which a step timed against itself is 2% off is marked suspect",
    ),
    Column(
        key="infer_ratio",
        label="inference time / bare",
        group="time",
        says="Time of a forward pass as deployed, unmerged, over that of the bare model, at the profile's batch size.",
        formula="median over rounds of the ratio within a round, with a bootstrap interval",
        meter="bench profile",
        error="as for the step time; weights that equal the bare model's share its memory",
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
        error="runs follow one another on a machine that drifts by 10%: no fair ratio between methods; malloc keeps "
        "freed blocks unless --allocator system, and runs under different allocators do not compare",
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
        formula=_ESTIMATE,
        meter=_ENERGY_METER,
        error=(
            "a model of the machine, not a measurement: whatever else runs on it raises the CPU's share, and memory "
            "is wall time times a constant; it must not rank methods and is never added to measured joules"
        ),
    ),
    Column(
        key="train_co2e_kg",
        label="training CO2e",
        unit="kg",
        group="energy",
        estimated=True,
        says="Emissions of the train phase.",
        formula="energy x PUE x the yearly mean carbon intensity of the country's grid",
        meter=_ENERGY_METER,
        error=(
            "always an estimate; absent unless --country was given; the PUE is 1 unless --pue was given, and stands "
            "in the record; joules never contain it"
        ),
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
        formula=_ESTIMATE,
        meter=_ENERGY_METER,
        error="as for training",
    ),
)
