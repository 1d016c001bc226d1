"""What a pass computes and holds: FLOPs and memory."""

from __future__ import annotations

from bench.meters.column import Column

_LIVE = "a dispatch mode that adds every new tensor storage once and subtracts it when it dies"
_LIVE_ERROR = "exact for tensors; what a kernel allocates and frees within one call is not seen"
_FLOP_METER = (
    "torch's FlopCounterMode: a polynomial of rows and length through six small batches, tested on the run's largest "
    "and longest batch, on tensors without values; where it misses one by more than 0.1%, every shape of the run is "
    "counted by itself; the forward pass of the largest is confirmed by fvcore"
)
_FLOP_ERROR = (
    "elementwise operators, reductions, norms and the optimizer's update are not counted; those of the forward "
    "pass are named in the record"
)

COMPUTE: tuple[Column, ...] = (
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
        meter="the kernel, in a child whose malloc hands freed blocks back at once; the first seed that finishes",
        error="includes the interpreter and libraries (about 0.5 GB, the same for all); Linux and glibc alone",
    ),
    Column(
        key="cuda_allocated_bytes",
        label="CUDA allocated",
        unit="bytes",
        group="memory",
        says="Most bytes that torch had allocated on the GPU in the training steps; looks at the dev rows are left out.",
        formula="torch.cuda.max_memory_allocated, reset before the first step and after each look at the dev rows",
        meter="torch's caching allocator",
        error="absent without a GPU",
    ),
    Column(
        key="cuda_reserved_bytes",
        label="CUDA reserved",
        unit="bytes",
        group="memory",
        says="Most bytes that torch had reserved on the GPU in the training steps before the first look at the dev rows.",
        formula="torch.cuda.max_memory_reserved, reset after a warm-up on the longest training rows",
        meter="torch's caching allocator",
        error="absent without a GPU; includes fragmentation",
    ),
)
