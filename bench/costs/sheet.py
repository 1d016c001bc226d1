"""The costs of one run beside its time: FLOPs, live tensors, bytes to store, energy; in passes of their own.

Nothing here runs inside a clock. The run has been scored before, and no optimizer step is taken on its classifier.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from bench.costs.memory import live_inference, live_training
from bench.meters.instruments.flop_counter import CountMismatchError, ShapeCount, UncountedAttentionError, count_flops
from bench.meters.instruments.run_flops import Shape, run_flops, token_batch
from bench.meters.instruments.stand_ins import untouched
from bench.meters.parameters import safetensors_bytes
from bench.records.record import COUNTED, Costs
from bench.training.prepared import Setting

if TYPE_CHECKING:
    from bench.meters.phases import Phases

# Small enough to run for real in a blink; the polynomial through them is tested on the run's largest batch.
COUNTED_SHAPES: list[Shape] = [(1, 4), (2, 8), (3, 12)]


UNMEASURED = "the run ended before it was measured"
ELSEWHERE = "measured at another seed of this method, task and K"


class CostSheet:
    """Collects a run's costs, after it was scored: `measure_inference`, `measure_training`, `costs`.

    Args:
        setting: the run's; its classifier is trained and ejected, and stays as it is.
        shapes: how many training batches there were of each (rows, padded length).
        counted: whether FLOPs and memory are measured; else they are absent with the reason.
        resident: whether the resident peak is measured after the run, by a child process that adds it.
    """

    def __init__(
        self, setting: Setting, shapes: Mapping[Shape, int], *, counted: bool = True, resident: bool = True
    ) -> None:
        self._counted = counted
        self._setting = setting
        self._shapes = {"train": Counter(shapes), "infer": Counter[Shape]()}
        for batch in setting.test_batches():
            rows, length = batch.inputs["input_ids"].shape
            self._shapes["infer"][rows, length] += 1
        self._figures: dict[str, Any] = {"stored_bytes": safetensors_bytes(setting.stored_state())}
        self._absent: dict[str, str] = {}
        if not counted:
            self._absent |= dict.fromkeys(COUNTED, ELSEWHERE)
        if not resident:
            self._absent["resident_peak_bytes"] = "not asked for"
        elif not counted:
            self._absent["resident_peak_bytes"] = ELSEWHERE
        else:  # until the executor's child has
            self._absent["resident_peak_bytes"] = "the child process that measures it has not run"

    def note_absent(self, name: str, reason: str) -> None:
        """Says why a figure is missing."""
        self._absent[name] = reason

    def note_measured(self, name: str) -> None:
        """Takes back what `note_absent` said."""
        self._absent.pop(name, None)

    def measure_inference(self) -> None:
        """Counts FLOPs and live bytes of the forward passes, as deployed."""
        if not self._counted:
            return
        shapes = self._shapes["infer"]
        self._measure(_flops_of("infer"), lambda: self._count("infer", shapes, self._setting))
        self._measure(("infer_live_bytes",), lambda: self._live_inference(shapes))

    def measure_training(self) -> None:
        """Counts FLOPs and live bytes of training steps, on a classifier of its own that is thrown away."""
        names = (*_flops_of("train"), "train_live_bytes")
        shapes = self._shapes["train"]
        if not self._counted:
            return
        if not shapes:
            self._absent |= dict.fromkeys(names, "nothing is trained")
            return
        with untouched(self._setting.classifier):  # the random state
            fresh: list[Setting] = []
            self._measure(names, lambda: fresh.append(self._setting.untrained()))
            if fresh:
                self._measure(_flops_of("train"), lambda: self._count("train", shapes, fresh[0]))
                self._measure(("train_live_bytes",), lambda: self._live_training(shapes, fresh[0]))

    def _measure(self, names: Iterable[str], measure: Callable[[], Mapping[str, Any] | None]) -> None:
        """Takes what `measure` gives, or the reason why these figures are missing: never both."""
        try:
            self._figures |= measure() or {}
        except (UncountedAttentionError, CountMismatchError) as error:
            self._absent |= dict.fromkeys(names, str(error))
        except Exception as error:  # what a method does to a meter costs the figure, not the run
            line = (str(error).strip() or "no message").splitlines()[0]
            self._absent |= dict.fromkeys(names, f"{type(error).__name__}: {line}")

    def _live_training(self, shapes: Mapping[Shape, int], fresh: Setting) -> dict[str, int]:
        live = live_training(fresh, max(shapes, key=_tokens))
        return {
            "train_live_bytes": live.peak_bytes,
            "train_weights_bytes": live.weights_bytes,
            "train_gradients_bytes": live.gradients_bytes,
            "train_optimizer_bytes": live.optimizer_bytes,
            "train_activations_bytes": live.activations_bytes,
        }

    def _live_inference(self, shapes: Mapping[Shape, int]) -> dict[str, int]:
        return {"infer_live_bytes": live_inference(self._setting, max(shapes, key=_tokens)).peak_bytes}

    def costs(self, phases: Phases, *, train_examples: int) -> Costs:
        """The figures so far, with what the phases' meters saw; what is still to be measured is absent."""
        for name, examples in (("train", train_examples), ("infer", len(self._setting.test))):
            self._throughput(name, phases.seconds(name), examples, self._shapes[name])
            self._energy(name, phases)
            if name in phases.cuda:
                cuda, prefix = phases.cuda[name], "" if name == "train" else "infer_"
                self._note(f"{prefix}cuda_allocated_bytes", cuda.max_allocated_bytes, cuda.reason)
                self._note(f"{prefix}cuda_reserved_bytes", cuda.max_reserved_bytes, cuda.reason)
        pending = {name: UNMEASURED for name in COUNTED if name not in self._figures}
        return Costs(**self._figures, absent=pending | self._absent)

    def _count(self, phase: str, shapes: Mapping[Shape, int], setting: Setting) -> dict[str, Any]:
        """FLOPs of all batches of a phase."""
        classifier = setting.classifier
        device = next(iter(classifier.state_dict().values())).device
        counted = ShapeCount(classifier, device=device, loss_fn=self._loss if phase == "train" else None)
        known: dict[Shape, int] = {}
        found: dict[str, Any] = {}
        if phase == "infer":  # the largest batch is counted twice over, by fvcore too
            most = max(shapes, key=_tokens)
            checked = count_flops(classifier, token_batch(most, device=device), loss_fn=None)
            known[most] = checked.forward_flops
            found["unsupported_operators"] = list(checked.unsupported_operators)
            if not checked.checked and checked.reason:
                self._absent["flops_check"] = checked.reason
        total = run_flops(
            lambda shape: known[shape] if shape in known else counted(shape), shapes, counted_on=COUNTED_SHAPES
        )
        return found | {f"{phase}_flops": total.flops, f"{phase}_flops_per_example": total.flops_per_example}

    def _loss(self, logits: Tensor) -> Tensor:
        """The task's own loss on made-up labels; its FLOPs are none, but the backward pass starts there."""
        kind = self._setting.kind
        # Where every token has logits, these are (rows, tokens, outputs); else only the rows count.
        return kind.loss(logits, kind.made_up(logits.shape[:2], logits.device))

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


def _flops_of(phase: str) -> tuple[str, str]:
    return f"{phase}_flops", f"{phase}_flops_per_example"


def largest(shapes: Iterable[Shape]) -> Shape | None:
    """The largest batch's shape; None without batches."""
    return max(shapes, key=_tokens, default=None)


def _tokens(shape: Shape) -> tuple[int, int]:
    """What makes a batch large: its tokens, then their quadratic part."""
    return shape[0] * shape[1], shape[1]
