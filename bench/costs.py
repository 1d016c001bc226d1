"""The costs of one run beside its time: FLOPs, live tensors, bytes to store, energy; in passes of their own.

Nothing here runs inside a clock, and the trained model is left as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from bench.footprints import live_inference, live_training
from bench.meters.flops import CountMismatchError, ShapeCount, UncountedAttentionError, count_flops
from bench.meters.parameters import safetensors_bytes
from bench.meters.run_flops import Shape, run_flops, token_batch
from bench.setting import Setting
from bench.store import Costs

if TYPE_CHECKING:
    from bench.meters.phases import Phases

# Small enough to run for real in a blink; the polynomial through them is tested on the run's largest batch.
COUNTED_SHAPES: list[Shape] = [(1, 4), (2, 8), (3, 12)]


COUNTED = (
    "train_flops",
    "train_flops_per_example",
    "infer_flops",
    "infer_flops_per_example",
    "train_live_bytes",
    "infer_live_bytes",
)
"""What is measured at the first seed of each method and task: it differs by seed only as batches are padded."""


class CostSheet:
    """Collects a run's costs: `after_training`, then eject, then `after_inference`.

    Args:
        setting: the run's; its classifier is trained.
        shapes: how many training batches there were of each (rows, padded length).
        counted: whether FLOPs and memory are measured; else they are absent with the reason.
    """

    def __init__(self, setting: Setting, shapes: Mapping[Shape, int], *, counted: bool = True) -> None:
        self._counted = counted
        self._setting = setting
        self._train_shapes = Counter(shapes)
        self._shapes: dict[str, Mapping[Shape, int]] = {"train": self._train_shapes, "infer": {}}
        self._figures: dict[str, Any] = {}
        self._absent: dict[str, str] = {}

    def after_training(self) -> None:
        """Counts FLOPs and live bytes of training steps, before the method drops what training needs."""
        if not self._counted:
            self._absent |= dict.fromkeys(COUNTED, "measured at the first seed of a comparison only")
            return
        if not self._train_shapes:
            self._absent |= dict.fromkeys(
                ("train_flops", "train_flops_per_example", "train_live_bytes"), "nothing is trained"
            )
            return
        try:
            self._train_costs()
        except Exception as error:  # what a method does to a meter costs the figure, not the run
            names = [name for name in COUNTED if name.startswith("train")]
            self._absent |= dict.fromkeys(names, f"{type(error).__name__}: {error}")

    def note_absent(self, name: str, reason: str) -> None:
        """Says why a figure is missing."""
        self._absent[name] = reason

    def _train_costs(self) -> None:
        self._count("train", self._train_shapes)
        live = live_training(self._setting, max(self._train_shapes, key=_tokens))
        self._figures |= {
            "train_live_bytes": live.peak_bytes,
            "train_weights_bytes": live.weights_bytes,
            "train_gradients_bytes": live.gradients_bytes,
            "train_optimizer_bytes": live.optimizer_bytes,
            "train_activations_bytes": live.activations_bytes,
        }

    def after_inference(self) -> None:
        """Counts FLOPs and live bytes of the forward passes, as deployed, and what has to be stored."""
        shapes: Counter[Shape] = Counter()
        for batch in self._setting.test_batches():
            rows, length = batch.inputs["input_ids"].shape
            shapes[rows, length] += 1
        self._shapes["infer"] = shapes
        self._figures["stored_bytes"] = safetensors_bytes(self._setting.stored_state())
        if not self._counted:
            return
        try:
            self._count("infer", shapes)
            live = live_inference(self._setting, max(shapes, key=_tokens))
            self._figures["infer_live_bytes"] = live.peak_bytes
        except Exception as error:  # as above
            names = [name for name in COUNTED if name.startswith("infer")]
            self._absent |= dict.fromkeys(names, f"{type(error).__name__}: {error}")

    def finish(self, phases: Phases, *, train_examples: int) -> Costs:
        """The sheet, with what the phases' meters saw."""
        for name, examples in (("train", train_examples), ("infer", len(self._setting.test))):
            self._throughput(name, phases.seconds(name), examples, self._shapes[name])
            self._energy(name, phases)
        # Until the child that measures it has.
        self._absent["resident_peak_bytes"] = "not asked for, interrupted, or not a comparison's first seed"
        if "train" in phases.cuda:
            cuda = phases.cuda["train"]
            self._note("cuda_allocated_bytes", cuda.max_allocated_bytes, cuda.reason)
            self._note("cuda_reserved_bytes", cuda.max_reserved_bytes, cuda.reason)
        return Costs(**self._figures, absent=self._absent)

    def _count(self, phase: str, shapes: Mapping[Shape, int]) -> None:
        """FLOPs of all batches of a phase."""
        classifier = self._setting.classifier
        device = next(iter(classifier.state_dict().values())).device
        counted = ShapeCount(classifier, device=device, loss_fn=self._loss if phase == "train" else None)
        known: dict[Shape, int] = {}
        try:
            if phase == "infer":  # the largest batch is counted twice over, by fvcore too
                most = max(shapes, key=_tokens)
                checked = count_flops(classifier, token_batch(most, device=device), loss_fn=None)
                known[most] = checked.forward_flops
                self._figures["unsupported_operators"] = list(checked.unsupported_operators)
                if not checked.checked and checked.reason:
                    self._absent["flops_check"] = checked.reason
            total = run_flops(
                lambda shape: known[shape] if shape in known else counted(shape), shapes, counted_on=COUNTED_SHAPES
            )
        except (UncountedAttentionError, CountMismatchError) as error:
            self._absent |= {f"{phase}_flops": str(error), f"{phase}_flops_per_example": str(error)}
            return
        self._figures[f"{phase}_flops"] = total.flops
        self._figures[f"{phase}_flops_per_example"] = total.flops_per_example

    def _loss(self, logits: Tensor) -> Tensor:
        """The task's own loss on made-up labels; its FLOPs are none, but the backward pass starts there."""
        if logits.shape[1] == 1:
            return functional.mse_loss(logits.squeeze(-1), torch.zeros_like(logits[:, 0]))
        return functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))

    def _throughput(self, phase: str, seconds: float | None, examples: int, shapes: Mapping[Shape, int]) -> None:
        if seconds:
            self._figures[f"{phase}_examples_per_s"] = examples / seconds
            tokens = sum(number * rows * length for (rows, length), number in shapes.items())
            if tokens:
                self._figures[f"{phase}_tokens_per_s"] = tokens / seconds

    def _energy(self, phase: str, phases: Phases) -> None:
        figures = phases.energy.get(phase)
        if figures is None:
            untrained = phases.seconds(phase) is None
            why = "nothing is trained" if untrained else "energy was not metered"
            names = ("energy_measured_joules", "energy_estimated_joules", "co2e_kg")
            self._absent |= {f"{phase}_{name}": why for name in names}
            return
        reason = figures.reason
        lost = figures.measured_joules is None and figures.estimated_joules is None  # else the reason is the CO2e's
        self._note(f"{phase}_energy_measured_joules", figures.measured_joules, (lost and reason) or "no counter here")
        self._note(f"{phase}_energy_estimated_joules", figures.estimated_joules, reason if lost else None)
        self._note(f"{phase}_co2e_kg", figures.co2e_kg, reason)
        self._figures.setdefault("energy_detail", {})[phase] = {
            name: {"joules": part.energy_joules, "source": part.source, "how": part.detail}
            for name in ("cpu", "gpu", "memory")
            if (part := getattr(figures, name)).energy_joules is not None
        } | {"scope": figures.scope, "tdp_w": figures.tdp_w, "tdp_origin": figures.tdp_origin, "pue": figures.pue}

    def _note(self, name: str, figure: float | None, reason: str | None) -> None:
        if figure is not None:
            self._figures[name] = figure
        elif reason:
            self._absent[name] = reason


def largest(shapes: Iterable[Shape]) -> Shape | None:
    """The largest batch's shape; None without batches."""
    return max(shapes, key=_tokens, default=None)


def _tokens(shape: Shape) -> tuple[int, int]:
    """What makes a batch large: its tokens, then their quadratic part."""
    return shape[0] * shape[1], shape[1]
