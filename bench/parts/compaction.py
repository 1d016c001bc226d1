"""From a finished run to a model to deploy, measured before and after."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.costs.memory import padded_batch
from bench.errors import UserError
from bench.meters.clock import synchronizer
from bench.meters.instruments.flop_counter import count_flops
from bench.meters.instruments.run_flops import token_batch
from bench.meters.interleave import Ratio, interleave, ratios
from bench.meters.parameters import safetensors_bytes
from bench.parts.deployment import Plan, apply, make_plan, save
from bench.parts.trained import trained_setting
from bench.records.store import Record, weights_path
from bench.training.loop import autocasting
from bench.training.prepared import Setting

MEASURED = "measured.json"


@dataclass(frozen=True)
class Figures:
    """One state of the model, before or after. None: not to be had.

    Attributes:
        parameters: to store, without the head.
        stored_bytes: of the safetensors file, head included.
        forward_flops: of one example at the stated length.
        dev_score, test_score: the headline score.
    """

    parameters: int
    stored_bytes: int
    forward_flops: int
    dev_score: float | None
    test_score: float | None


@dataclass(frozen=True)
class Compaction:
    """What compaction did.

    Attributes:
        plan: how.
        before, after: the figures.
        before_time, after_time: of a forward pass, interleaved; the ratio is to the time before.
        largest_change: the most that a logit of a dev row changed.
        tokens: length that FLOPs and latency are for, one example.
        unmerged: what the method could not merge, and why; None if nothing.
    """

    plan: Plan
    before: Figures
    after: Figures
    before_time: Ratio
    after_time: Ratio
    largest_change: float
    tokens: int
    unmerged: str | None = None

    @property
    def emptied(self) -> bool:
        """Whether nothing of what the method added is left."""
        return self.before.parameters > 0 and self.after.parameters == 0


def compact(
    out: Path, record: Record, into: Path, *, epsilon: float, tolerance: float, tokens: int = 32, rounds: int = 100
) -> Compaction:
    """Makes a finished run's model compact, measures it against the run's own, and saves it.

    Args:
        out: the comparison's folder.
        record: the run; it kept its weights.
        into: folder to write.
        epsilon: how far the dev score may fall by dropping parts.
        tolerance: a gate whose standard deviation over the dev rows is at most this is folded at its mean.
        tokens: length of the example for FLOPs and latency.
        rounds: of the latency comparison.

    Raises:
        UserError: the run kept no weights, or has no dev rows or no parts.
    """
    setting, whole = trained_setting(out, record), trained_setting(out, record)
    if not len(setting.dev):
        raise UserError(f"{record.asked.title} has no dev rows to verify on")
    plan = make_plan(setting, epsilon=epsilon, tolerance=tolerance)
    before = _figures(whole, whole.stored_state(), tokens)
    state, unmerged = apply(setting, plan)
    after = _figures(setting, state, tokens)
    change = float((setting.logits(setting.dev) - whole.logits(whole.dev)).abs().max())
    before_time, after_time = _latency(whole, setting, tokens, rounds)
    save(into, plan, state)
    found = Compaction(plan, before, after, before_time, after_time, change, tokens, unmerged)
    measured = {name: value for name, value in asdict(found).items() if name != "plan"}
    (into / MEASURED).write_text(json.dumps(measured, indent=1) + "\n", "utf-8")
    return found


def _figures(setting: Setting, state: Mapping[str, Tensor], tokens: int) -> Figures:
    head = set(setting.classifier.head_parameters())
    flops = count_flops(setting.classifier, token_batch((1, tokens), device=setting.device), loss_fn=None)
    return Figures(
        parameters=sum(tensor.numel() for name, tensor in state.items() if name not in head),
        stored_bytes=safetensors_bytes(state),
        forward_flops=flops.forward_flops,
        dev_score=setting.headline_score(setting.dev),
        test_score=setting.headline_score(setting.test),
    )


def _latency(before: Setting, after: Setting, tokens: int, rounds: int) -> tuple[Ratio, Ratio]:
    """Time of one example before and after, in the run's precision, the device waited for."""
    batch = padded_batch((1, tokens), before.device)
    batch["attention_mask"][:] = 1  # a single text has no padding

    def forward(setting: Setting) -> Callable[[], Tensor]:
        autocast, classifier = autocasting(setting.protocol), setting.classifier.eval()

        def run() -> Tensor:
            with torch.inference_mode(), autocast():
                logits: Tensor = classifier(**batch)
            return logits

        return run

    steps = {"before": forward(before), "after": forward(after)}
    seconds = interleave(steps, rounds=rounds, seed=0, synchronize=synchronizer(before.device))
    found = ratios(seconds, list(steps), baseline="before", generator=np.random.default_rng(0))
    return found["before"], found["after"]


def record_of(path: Path) -> tuple[Path, str]:
    """The comparison's folder and the digest that a path to a record means.

    Raises:
        UserError: it is no path of a record with weights.
    """
    if path.suffix != ".json" or path.parent.name != "runs" or not path.is_file():
        raise UserError(f"{path} is no record; give a file such as OUT/runs/DIGEST.json")
    out = path.parent.parent
    if not weights_path(out, path.stem).exists():
        raise UserError(f"{path} kept no weights; run the comparison with --weights all")
    return out, path.stem
