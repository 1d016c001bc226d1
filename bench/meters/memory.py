"""Memory of tensors: the most bytes that are alive at once in a training step and in a forward pass.

`resident.py` measures the process as the system sees it, `cuda.py` the allocator of a GPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bench.meters.column import Column
from bench.meters.meter import Figures, Finding, Meter, Run

if TYPE_CHECKING:
    from collections.abc import Iterator

_LIVE = "a dispatch mode that adds every new tensor storage once and subtracts it when it dies"
_LIVE_ERROR = "exact for tensors; what a kernel allocates and frees within one call is not seen"


class Memory(Meter):
    """Measures live tensors at the run's largest batches, in passes of their own: the meter slows each operator."""

    name: ClassVar[str] = "memory"
    every_seed: ClassVar[bool] = False
    place: ClassVar[int] = 10
    columns: ClassVar[tuple[Column, ...]] = (
        Column(
            key="train_live_bytes",
            label="training memory",
            unit="bytes",
            group="memory",
            phase="train",
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
            phase="train",
            follows="train_live_bytes",
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
            phase="train",
            follows="train_live_bytes",
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
            phase="train",
            follows="train_live_bytes",
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
            phase="train",
            follows="train_live_bytes",
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
            phase="infer",
            says="Peak bytes of live tensors in a forward pass on the largest evaluation batch, after eject().",
            formula="weights + activations at the moment of the peak",
            meter=_LIVE,
            error=_LIVE_ERROR,
        ),
    )

    def deployed(self, run: Run) -> Figures:
        """A forward pass of the ejected classifier."""
        from bench.costs.memory import live_inference

        return {"infer_live_bytes": live_inference(run.setting, run.largest("infer")).peak_bytes}

    def training(self, run: Run) -> Figures:
        """The second of two ordinary training steps, and what the peak consists of."""
        from bench.costs.memory import live_training

        live = live_training(run.setting, run.largest("train"))
        return {
            "train_live_bytes": live.peak_bytes,
            "train_weights_bytes": live.weights_bytes,
            "train_gradients_bytes": live.gradients_bytes,
            "train_optimizer_bytes": live.optimizer_bytes,
            "train_activations_bytes": live.activations_bytes,
        }

    def doctor(self) -> Iterator[Finding]:
        yield Finding("live tensor bytes", "measured", "a dispatch mode, exact")
