"""Makes the model of a finished run compact, and measures it before and after."""

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
    """The figures of a model, before or after compaction.

    Attributes:
        parameters: number of parameters to store, without the head.
        stored_bytes: size of the safetensors file, head included.
        forward_flops: FLOPs of the forward pass of one example at the stated length.
        dev_score: the headline score on the dev rows; None where it is undefined.
        test_score: the same on the test rows.
    """

    parameters: int
    stored_bytes: int
    forward_flops: int
    dev_score: float | None
    test_score: float | None


@dataclass(frozen=True)
class Compaction:
    """The result of a compaction.

    Attributes:
        plan: what was dropped and folded.
        before: figures of the model as it was scored.
        after: figures of the compact model.
        before_time: time of a forward pass of one example, the baseline of the ratio.
        after_time: the same of the compact model, measured in turns; its ratio is to the time before.
        largest_change: the largest absolute change of a logit on the dev rows.
        tokens: length of the example for FLOPs and time.
        unmerged: what the method could not merge, and why; None if there is no such thing.
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
        """Whether all parameters that the method added are gone."""
        return self.before.parameters > 0 and self.after.parameters == 0


def compact(
    out: Path, record: Record, into: Path, *, epsilon: float, tolerance: float, tokens: int = 32, rounds: int = 100
) -> Compaction:
    """Makes the model of a finished run compact, measures it against the original, and saves it.

    Args:
        out: the comparison's folder.
        record: of the run, which kept its weights.
        into: the folder to write.
        epsilon: how far the dev score may fall by dropping parts.
        tolerance: a gate whose standard deviation over the dev rows is at most this is folded at its mean.
        tokens: length of the example for FLOPs and latency.
        rounds: number of rounds in which both models are timed in turns.

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
    result = Compaction(plan, before, after, before_time, after_time, change, tokens, unmerged)
    measured = {name: value for name, value in asdict(result).items() if name != "plan"}
    (into / MEASURED).write_text(json.dumps(measured, indent=1) + "\n", "utf-8")
    return result


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
    """Times a forward pass of one example in both models, in turns, in the precision of the run."""
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
    times = ratios(seconds, list(steps), baseline="before", generator=np.random.default_rng(0))
    return times["before"], times["after"]


def record_of(path: Path) -> tuple[Path, str]:
    """Splits the path of a record into the folder of the comparison and the digest of the run.

    Raises:
        UserError: it is not the path of a record whose weights were kept.
    """
    if path.suffix != ".json" or path.parent.name != "runs" or not path.is_file():
        raise UserError(f"{path} is no record; give a file such as OUT/runs/DIGEST.json")
    out = path.parent.parent
    if not weights_path(out, path.stem).exists():
        raise UserError(f"{path} kept no weights; run the comparison with --weights all")
    return out, path.stem
