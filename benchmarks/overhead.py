"""How much time does the harness add to a training step? Its loop is timed against a bare loop of the same steps.

    python -m benchmarks.overhead --method lora --model minilm-l6 --task trec --rounds 40

It takes a few minutes (an estimate). Nothing else may run on the machine; it says so where the
interval is too wide to conclude.

Both loops train the same weights on the same batches with the same random numbers, which is checked first. The loop
of the harness also counts, takes times, watches peaks of memory, reports progress, and keeps and restores the best
checkpoint. Evaluation is left out of both, and so is energy, which another thread samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import torch
import typer

from bench.costs.sheet import prepared_meters
from bench.meters.allocator import Allocator, in_force, use
from bench.meters.clock import Clock, synchronizer
from bench.meters.interleave import Ratio, interleave, ratios
from bench.meters.phases import Phases
from bench.records.spec import Measures, ModelSpec, Protocol, RunSpec
from bench.registry.methods import resolve_method
from bench.registry.tasks import resolve_task
from bench.run import run_training
from bench.sources.models import fetch_model
from bench.training.loop import head_rate
from bench.training.prepared import Setting, prepare


def bare(setting: Setting) -> None:
    """The shortest loop that takes the same steps."""
    classifier, method, protocol = setting.classifier, setting.method, setting.protocol
    torch.manual_seed(0)
    order = torch.Generator().manual_seed(0)
    head = list(classifier.head_parameters().values())
    head_ids = {id(parameter) for parameter in head}
    body = [p for p in classifier.parameters() if p.requires_grad and id(p) not in head_ids]
    groups: list[dict[str, Any]] = [{"params": head, "lr": head_rate(method, protocol)}]
    if body:
        groups.append({"params": body, "lr": method.learning_rate})
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0, fused=True)
    total = protocol.steps or 0
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (total - step) / total)
    classifier.train()
    done = 0
    while done < total:
        for batch in setting.train_batches(order):
            setting.kind.loss(classifier(**batch.inputs), batch.labels).backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            done += 1
            if done == total:
                break


def unmetered(setting: Setting) -> Phases:
    """The phases of a run without its energy, which another thread samples and which is no part of the loop."""
    meters = prepared_meters(Measures(energy=False), device=str(setting.device))
    return Phases(Clock(synchronize=synchronizer(setting.device)), meters.able)


def harness(setting: Setting) -> Callable[[], None]:
    """The loop of the harness, with its clock and its reports of progress."""

    def train() -> None:
        run_training(setting, phases=unmetered(setting))

    return train


def measure(spec: RunSpec, *, rounds: int) -> Ratio:
    """The time of the harness over that of the bare loop, after a check that both train the same weights.

    Raises:
        AssertionError: they end in different weights.
    """
    ours, theirs = prepare(spec), prepare(spec)
    run_training(ours, phases=unmetered(ours))
    bare(theirs)
    for (name, left), right in zip(ours.classifier.named_parameters(), theirs.classifier.parameters(), strict=True):
        assert torch.equal(left, right), f"{name} differs: the loops do not take the same steps"
    loops = {"bare": lambda: bare(theirs), "harness": harness(ours)}
    seconds = interleave(loops, rounds=rounds, seed=0)
    return ratios(seconds, list(loops), baseline="bare", generator=np.random.default_rng(0))["harness"]


def main(
    method: str = "lora",
    model: str = "minilm-l6",
    task: str = "trec",
    steps: Annotated[int, typer.Option(help="Steps of a round.")] = 14,
    rounds: int = 40,
    threads: int = 1,
    allocator: Allocator = "keep",
) -> None:
    """Prints the ratio with its 95% interval."""
    use(allocator)
    spec = RunSpec(
        method=resolve_method(method).spec,
        task=resolve_task(task).spec,
        model=ModelSpec(name=model, revision=fetch_model(model).spec.revision),
        k=100,
        data_seed=0,
        model_seed=0,
        protocol=Protocol(
            dev=0, epochs=None, steps=steps, head="mean", warmup_share=0.0, threads=threads, device="cpu"
        ),
    )
    ratio = measure(spec, rounds=rounds)
    assert math.isfinite(ratio.ratio)
    flag = " (wide: measure again on a quieter machine)" if ratio.wide else ""
    print(
        f"{method} on {task}, {model}, {threads} threads, {in_force()}, {rounds} rounds of {steps} steps: "
        f"harness / bare = {ratio.ratio:.4f} [{ratio.low:.4f}, {ratio.high:.4f}]{flag}; "
        f"{ratio.p50_ms / steps:.2f} ms a step"
    )


if __name__ == "__main__":
    typer.run(main)
