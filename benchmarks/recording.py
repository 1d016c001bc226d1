"""What does it cost that gates can be recorded? Steps of UniPELT with and without a recorder are timed in turns.

    python -m benchmarks.recording --model minilm-l6 --batch 16 --tokens 24 --rounds 60

It takes a few minutes (an estimate). Nothing else may run on the machine.

`plain` was never recorded, and is the reference. `unrecorded` was recorded once before, and its interval should hold
1.00. `recorded` runs inside a recorder; `copied` also copies the values to the host after every step. `ungated` is the
same method without gates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
import typer

from bench.costs.memory import padded_batch
from bench.grid.worker import quiet
from bench.meters.allocator import Allocator, in_force, use
from bench.meters.clock import synchronizer
from bench.meters.interleave import Ratio, interleave, ratios
from bench.parts.gates import GateSite, gate_sites, recording
from bench.records.spec import Protocol
from bench.registry.methods import method_of, resolve_method
from bench.sources.models import Backbone, fetch_model
from bench.tasks import kind_of_outputs
from bench.training.classifier import load_classifier
from bench.training.loop import gradient_step, make_optimizer
from bench.training.prepared import adapt, prepare_torch
from methods.kit.base import Classifier, Method

Step = Callable[[], object]


class Subject:
    """A fresh classifier of one method, its gates, and its steps on one batch."""

    def __init__(self, backbone: Backbone, name: str, shape: tuple[int, int], protocol: Protocol) -> None:
        device = prepare_torch(protocol)
        self.method: Method = method_of(resolve_method(name).spec)
        fresh = load_classifier(backbone, outputs=2, head=backbone.head, seed=0)
        self._kind = kind_of_outputs(fresh.outputs)
        self.batch = padded_batch(shape, device)
        self.labels = self._kind.made_up(shape, device)
        self.classifier: Classifier = adapt(fresh, self.method, kind=self._kind, labels=self.labels.cpu(), seed=0).to(
            device
        )
        self.sites: list[GateSite] = gate_sites(self.method.parts_of(self.classifier.backbone, {}))
        self._protocol = protocol
        self._optimizer = make_optimizer(self.classifier, self.method, protocol)

    def train(self) -> None:
        """A training step."""
        self.classifier.train()
        gradient_step(
            self.classifier,
            self.method,
            self._optimizer,
            self.batch,
            self.labels,
            self._protocol,
            loss_of=self._kind.loss,
        )
        self._optimizer.zero_grad()

    def infer(self) -> None:
        """A forward pass."""
        self.classifier.eval()
        with torch.inference_mode():
            self.classifier(**self.batch)

    def recorded(self, step: Step, *, copied: bool) -> Step:
        """The step inside a recorder; `copied` also copies the values to the host."""

        def run() -> None:
            with recording(self.sites) as log:
                step()
            if copied:
                log.values()

        return run


def measure(model: str, shape: tuple[int, int], *, phase: str, rounds: int, threads: int | None) -> dict[str, Ratio]:
    """The ratio of each variant's time to plain UniPELT's, in the phase `train` or `infer`."""
    protocol, backbone = Protocol(threads=threads), fetch_model(model)
    names = ("plain", "unrecorded", "recorded", "copied")
    subjects = {name: Subject(backbone, "unipelt", shape, protocol) for name in names}
    subjects["ungated"] = Subject(backbone, "unipelt[gate=none]", shape, protocol)
    steps: dict[str, Step] = {name: getattr(subject, phase) for name, subject in subjects.items()}
    subjects["unrecorded"].recorded(steps["unrecorded"], copied=True)()
    for name in ("recorded", "copied"):
        steps[name] = subjects[name].recorded(steps[name], copied=name == "copied")
    wait = synchronizer(subjects["plain"].labels.device)
    seconds = interleave(steps, rounds=rounds, seed=0, synchronize=wait)
    return ratios(seconds, list(steps), baseline="plain", generator=np.random.default_rng(0))


def main(
    model: str = "minilm-l6",
    batch: int = 16,
    tokens: int = 24,
    rounds: int = 60,
    threads: Annotated[int | None, typer.Option(help="Of torch; else as many as the process may use.")] = None,
    allocator: Allocator = "keep",
) -> None:
    """Prints the ratios of a training step and of inference with their 95% intervals."""
    use(allocator)
    quiet()
    for phase, said in (("train", "training step"), ("infer", "inference")):
        by_variant = measure(model, (batch, tokens), phase=phase, rounds=rounds, threads=threads)
        setting = f"{torch.get_num_threads()} threads, {in_force()}, {rounds} rounds"
        print(f"{said}, {model}, {batch} x {tokens}, {setting}")
        for name, ratio in by_variant.items():
            flag = " (wide)" if ratio.wide else ""
            print(f"  {name:<11} {ratio.ratio:.4f} [{ratio.low:.4f}, {ratio.high:.4f}]  {ratio.p50_ms:.2f} ms{flag}")


if __name__ == "__main__":
    typer.run(main)
