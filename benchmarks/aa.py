"""How noisy is a profile? It times two instances of the same method against each other.

    python -m benchmarks.aa --method lora --model minilm-l6 --rounds 60

The interval of the ratio should hold 1.00, and the ratio should lie within 0.02 of it; the exit code is 1 where it does
not. It takes a minute or two (an estimate). Nothing else may run on the machine.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import torch

from bench.costs.profile import StepTimer
from bench.grid.worker import quiet
from bench.meters.allocator import in_force, use
from bench.meters.interleave import interleave, ratios
from bench.records.spec import MethodSpec, ProfileShape, Protocol
from bench.registry.methods import method_of, resolve_method
from bench.sources.models import fetch_model
from bench.training.prepared import prepare_torch

TOLERANCE = 0.02


def main(arguments: list[str] | None = None) -> int:
    """Prints the A/A ratios of a training step and of inference; exit code 1 where one is off."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.aa", description=__doc__)
    parser.add_argument("--method", default="lora")
    parser.add_argument("--model", default="minilm-l6")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--allocator", choices=("keep", "system"), default="keep")
    options = parser.parse_args(arguments)
    use(options.allocator)
    quiet()
    shape = ProfileShape(model=options.model, batch=options.batch, tokens=options.tokens, rounds=options.rounds)
    protocol = Protocol()
    bench = StepTimer(fetch_model(options.model), shape, protocol, prepare_torch(protocol))
    spec: MethodSpec = resolve_method(options.method).spec
    method = method_of(spec)
    shown = f"{options.batch} x {options.tokens}, {torch.get_num_threads()} threads, {in_force()}"
    print(f"{spec.label} twice, {options.model}, {shown}")
    wrong = 0
    for name, steps in (
        ("training step", {"A": bench.training_step(method), "B": bench.training_step(method)}),
        ("inference", {"A": bench.forward_pass(method), "B": bench.forward_pass(method)}),
    ):
        seconds = interleave(steps, rounds=options.rounds, seed=0)
        ratio = ratios(seconds, list(steps), baseline="A", generator=np.random.default_rng(0))["B"]
        good = ratio.low <= 1 <= ratio.high and abs(ratio.ratio - 1) <= TOLERANCE
        wrong += not good
        print(f"{name}: {ratio.ratio:.4f} [{ratio.low:.4f}, {ratio.high:.4f}] {'ok' if good else 'OFF'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
