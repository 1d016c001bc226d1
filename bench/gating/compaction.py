"""From a finished run to a model to deploy: idle parts gone, constant gates folded in, the rest as it was.

What is kept is what was trained of the parts left, so the file is small; the loader repeats the same steps
on the pretrained backbone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.config import Frozen, RunSpec
from bench.costs import padded_batch
from bench.errors import UserError
from bench.gating.effective import verify
from bench.gating.gates import gate_sites
from bench.gating.measure import gate_values, mean_contributions
from bench.gating.study import trained_setting
from bench.meters.flops import count_flops
from bench.meters.interleave import interleave, ratios
from bench.meters.parameters import safetensors_bytes
from bench.meters.run_flops import token_batch
from bench.setting import Setting, prepare
from bench.store import Record, weights_path
from methods.base import Classifier, Part

PLAN, WEIGHTS = "compact.json", "model.safetensors"


class Plan(Frozen):
    """How a run's model is made compact.

    Attributes:
        run: what was asked of the run.
        dropped: names of the parts that are gone.
        folded: name of a part -> the number that its gate became.
        classes: names of the classes, in the order of the logits.
    """

    run: RunSpec
    dropped: tuple[str, ...]
    folded: dict[str, float]
    classes: tuple[str, ...] | None


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
        latency_ratio: time of a forward pass after over before, interleaved: median, low, high.
        largest_change: the most that a logit of a dev row changed.
        tokens: length that FLOPs and latency are for, one example.
    """

    plan: Plan
    before: Figures
    after: Figures
    latency_ratio: tuple[float, float, float]
    largest_change: float
    tokens: int


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
    state = _apply(setting, plan)
    after = _figures(setting, state, tokens)
    change = float((setting.logits(setting.dev) - whole.logits(whole.dev)).abs().max())
    latency = _latency(whole.classifier, setting.classifier, tokens, rounds)
    _save(into, plan, state)
    return Compaction(plan, before, after, latency, change, tokens)


def make_plan(setting: Setting, *, epsilon: float, tolerance: float) -> Plan:
    """Which parts go, and which gates become constants; the model is left as it was.

    Raises:
        UserError: the method has no parts, or the dev score is undefined.
    """
    parts = setting.method.parts_of(setting.classifier.backbone, setting.pretrained())
    parts = [part for part in parts if part.drop is not None]
    if not parts:
        raise UserError(f"{setting.spec.method.label} has no parts that could be dropped")
    means = mean_contributions(setting, parts, setting.dev).mean(axis=0)
    found = verify(
        parts,
        means.tolist(),
        dev=lambda: setting.headline_score(setting.dev),
        test=lambda: None,  # the test rows have no say in the plan
        epsilon=epsilon,
    )
    if found is None:
        raise UserError(f"{setting.headline} is undefined on the dev rows of {setting.spec.title}")
    dropped = tuple(part.name for part in parts if part.name not in found.kept)
    left = [part for part in parts if part.name in found.kept]
    return Plan(
        run=setting.spec,
        dropped=dropped,
        folded=_constant_gates(setting, left, tolerance),
        classes=None if setting.examples.labels is None else tuple(setting.examples.labels),
    )


def _constant_gates(setting: Setting, parts: Sequence[Part], tolerance: float) -> dict[str, float]:
    """The parts whose gate hardly varies over the dev rows, and its mean there."""
    sites = gate_sites(parts)
    if not sites:
        return {}
    values, _ = gate_values(setting, setting.dev, sites)
    folded: dict[str, float] = {}
    for index, site in enumerate(sites):
        if float(np.std(values[:, index])) <= tolerance and all(part.fold is not None for part in site.parts):
            folded |= {part.name: float(values[:, index].mean()) for part in site.parts}
    return folded


def _apply(setting: Setting, plan: Plan, state: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Drops and folds for good, loading `state` in between.

    Returns:
        What has to be stored: the trained tensors of what is left, as they were before folding.
    """
    backbone = setting.classifier.backbone
    parts = {part.name: part for part in setting.method.parts_of(backbone, setting.pretrained())}
    readings = {id(p.gate.reading): p.gate.reading for p in parts.values() if p.gate is not None}
    alive = {
        id(part.gate.reading)
        for name, part in parts.items()
        if part.gate is not None and name not in plan.dropped and name not in plan.folded
    }
    for name in plan.dropped:
        drop = parts[name].drop
        assert drop is not None
        drop()
    for key, reading in readings.items():
        if key not in alive:
            reading.retire()
    kept = setting.stored_state()
    for name in plan.folded:  # the gates of folded adapters live on the adapter itself
        gate = parts[name].gate
        assert gate is not None
        if id(gate.reading) not in alive:
            own = {id(p) for p in gate.reading.gate.parameters()}
            kept = {key: tensor for key, tensor in kept.items() if id(_parameter(setting, key)) not in own}
    if state is not None:
        _load(setting, kept, state)
    stored = {name: tensor.clone() for name, tensor in kept.items()}
    for name, value in plan.folded.items():
        fold = parts[name].fold
        assert fold is not None
        fold(value)
    setting.method.merge(backbone)
    setting.classifier.eval()
    return stored


def _parameter(setting: Setting, name: str) -> Tensor:
    return setting.classifier.get_parameter(name)


def _load(setting: Setting, kept: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    if set(kept) != set(state):
        odd = sorted(set(kept) ^ set(state))[0]
        raise UserError(f"the compact weights do not fit the method as it is now ({odd}); compact the run anew")
    with torch.no_grad():
        for name, tensor in state.items():
            _parameter(setting, name).copy_(tensor)


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


def _latency(before: Classifier, after: Classifier, tokens: int, rounds: int) -> tuple[float, float, float]:
    """Time of one example after over before."""
    device = next(iter(before.state_dict().values())).device
    batch = padded_batch((1, tokens), device)
    batch["attention_mask"][:] = 1

    def forward(classifier: Classifier) -> Any:
        with torch.inference_mode():
            return classifier(**batch)

    steps = {"before": lambda: forward(before), "after": lambda: forward(after)}
    seconds = interleave(steps, rounds=rounds, seed=0)
    found = ratios(seconds, list(steps), baseline="before", generator=np.random.default_rng(0))["after"]
    return found.ratio, found.low, found.high


def _save(into: Path, plan: Plan, state: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save_file

    into.mkdir(parents=True, exist_ok=True)
    temporary = into / f".{WEIGHTS}.tmp"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, temporary)
    temporary.replace(into / WEIGHTS)
    (into / PLAN).write_text(plan.model_dump_json(indent=1) + "\n", "utf-8")


def load(folder: Path) -> Classifier:
    """Loads a compact model: input_ids, attention_mask, ... -> logits, as `bench compact` saved it.

    Raises:
        UserError: the folder holds none, or the method has changed since.
    """
    from safetensors.torch import load_file

    if not (folder / PLAN).is_file() or not (folder / WEIGHTS).is_file():
        raise UserError(f"{folder} holds no compact model ({PLAN} and {WEIGHTS})")
    plan = Plan.model_validate_json((folder / PLAN).read_text("utf-8"))
    setting = prepare(plan.run)
    setting.method.eject(setting.classifier.backbone)
    _apply(setting, plan, load_file(folder / WEIGHTS, device=str(setting.device)))
    return setting.classifier


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
