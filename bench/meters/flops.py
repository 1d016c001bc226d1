"""FLOPs of a run: of all its forward passes over the test rows, and of all its training steps.

2 FLOPs a multiply-add of matrix products, convolutions and attention. Every batch counts at its padded length. How an
operator is counted stands in `instruments/flop_counter.py`, how batches of many shapes are in `instruments/run_flops.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bench.meters.column import Column, Phase
from bench.meters.meter import Absent, Figures, Finding, Meter, Note, Run, Shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from bench.meters.instruments.run_flops import RunFlops

_METER = (
    "torch's FlopCounterMode: a polynomial of rows and length through six small batches, tested on the run's largest "
    "and longest batch, on tensors without values; where it misses one by more than 0.1%, every shape of the run is "
    "counted by itself; `bench inspect` counts the forward pass by fvcore too"
)
_ERROR = (
    "elementwise operators, reductions, norms and the optimizer's update are not counted; those of the forward "
    "pass are named in the record"
)

# Small enough to run for real in a blink; the polynomial through them is tested on the run's largest batch.
COUNTED_SHAPES: tuple[Shape, ...] = ((1, 4), (2, 8), (3, 12))


class Flops(Meter):
    """Counts FLOPs in passes of their own: nothing that is timed is counted, nothing that is counted is timed."""

    name: ClassVar[str] = "flops"
    every_seed: ClassVar[bool] = False  # batches are padded a little differently at each seed; that is all
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            key="infer_flops_per_example",
            label="inference FLOPs",
            unit="FLOPs",
            group="flops",
            phase="infer",
            says="FLOPs of the forward passes over the test rows, per example, at the lengths that were really run.",
            formula="2 a multiply-add of matrix products and attention, summed over the padded batches / examples",
            meter=_METER,
            error=_ERROR,
        ),
        Column(
            key="train_flops_per_example",
            label="training FLOPs",
            unit="FLOPs",
            group="flops",
            phase="train",
            says="FLOPs of forward and backward pass in training, per example, at the lengths that were really run.",
            formula="as above; frozen weights need no weight gradient and are not charged for one",
            meter=_METER,
            error=_ERROR,
        ),
        Column(
            key="train_flops",
            label="training FLOPs of the run",
            unit="FLOPs",
            group="flops",
            phase="train",
            says="FLOPs of all training steps of a run.",
            formula="training FLOPs per batch, summed over the run's batches",
            meter=_METER,
            error=_ERROR,
        ),
        Column(
            key="infer_flops",
            label="inference FLOPs of the run",
            unit="FLOPs",
            group="flops",
            phase="infer",
            follows="infer_flops_per_example",
            says="FLOPs of all forward passes over the test rows.",
            formula="inference FLOPs per batch, summed over the padded test batches",
            meter=_METER,
            error=_ERROR,
        ),
    )

    def deployed(self, run: Run) -> Figures:
        """The test batches of the ejected classifier, in evaluation mode."""
        counted = _counted(run, "infer")
        if isinstance(counted, Absent):
            return {"infer_flops_per_example": counted}
        total, operators = counted
        return {
            "infer_flops": total.flops,
            "infer_flops_per_example": total.flops_per_example,
            "unsupported_operators": Note(list(operators)),
        }

    def training(self, run: Run) -> Figures:
        """The training batches of a classifier that has its gradients still."""
        counted = _counted(run, "train")
        if isinstance(counted, Absent):
            return {"train_flops": counted, "train_flops_per_example": counted}
        total, _ = counted
        return {"train_flops": total.flops, "train_flops_per_example": total.flops_per_example}

    def doctor(self) -> Iterator[Finding]:
        yield Finding("FLOPs", "measured", "torch's FlopCounterMode")


def _counted(run: Run, phase: Phase) -> tuple[RunFlops, tuple[str, ...]] | Absent:
    """FLOPs of all batches of a phase and the arithmetic operators that are not in them, or why they are too few."""
    from bench.meters.instruments.flop_counter import ShapeCount
    from bench.meters.instruments.operators import UncountedAttentionError
    from bench.meters.instruments.run_flops import run_flops

    kind = run.setting.kind

    def loss(logits: Tensor) -> Tensor:
        """The task's loss on made-up labels. It has no FLOPs itself; the backward pass starts there."""
        # Where every token has logits, these are (rows, tokens, outputs); else only the rows count.
        return kind.loss(logits, kind.made_up(logits.shape[:2], logits.device))

    count = ShapeCount(run.classifier, device=run.device, loss_fn=loss if phase == "train" else None)
    try:
        total = run_flops(count, run.batches[phase], counted_on=COUNTED_SHAPES)
    except UncountedAttentionError as error:
        return Absent(str(error))
    return total, count.uncounted
