"""The same method twice in one profile: what the profile's own noise is. `python -m benchmarks.aa`.

The ratio should be 1.00 within its interval, its median within 0.02. Run it alone on the machine.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
import torch

from bench.costs.profile import Workbench
from bench.grid.worker import quiet
from bench.meters.allocator import in_force, use
from bench.meters.interleave import interleave, ratios
from bench.records.spec import MethodSpec, ProfileShape, Protocol
from bench.registry.methods import method_of, resolve_method
from bench.sources.models import fetch
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
    asked = parser.parse_args(arguments)
    use(asked.allocator)
    quiet()
    shape = ProfileShape(model=asked.model, batch=asked.batch, tokens=asked.tokens, rounds=asked.rounds)
    protocol = Protocol()
    bench = Workbench(fetch(asked.model), shape, protocol, prepare_torch(protocol))
    spec: MethodSpec = resolve_method(asked.method).spec
    method = method_of(spec)
    shown = f"{asked.batch} x {asked.tokens}, {torch.get_num_threads()} threads, {in_force()}"
    print(f"{spec.label} twice, {asked.model}, {shown}")
    wrong = 0
    for name, steps in (
        ("training step", {"A": bench.training_step(method), "B": bench.training_step(method)}),
        ("inference", {"A": bench.forward_pass(method), "B": bench.forward_pass(method)}),
    ):
        seconds = interleave(steps, rounds=asked.rounds, seed=0)
        found = ratios(seconds, list(steps), baseline="A", generator=np.random.default_rng(0))["B"]
        good = found.low <= 1 <= found.high and abs(found.ratio - 1) <= TOLERANCE
        wrong += not good
        print(f"{name}: {found.ratio:.4f} [{found.low:.4f}, {found.high:.4f}] {'ok' if good else 'OFF'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
