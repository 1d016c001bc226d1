"""A compact model: idle parts gone, constant gates folded in, the rest as it was; planned, saved and loaded.

What is kept is what was trained of the parts left, so the file is small; the loader repeats the same steps
on the pretrained backbone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.errors import UserError
from bench.meters.parameters import state_tensors
from bench.parts.effective import greedy_removal
from bench.parts.gates import gate_sites, removed
from bench.parts.measure import gate_values, part_contributions
from bench.records.spec import Frozen, RunSpec
from bench.training.prepared import Setting, prepare
from methods.kit.base import Classifier
from methods.kit.parts import Part

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


def make_plan(setting: Setting, *, epsilon: float, tolerance: float) -> Plan:
    """Which parts go, and which gates become constants; the model is left as it was.

    Raises:
        UserError: the method has no parts, or the dev score is undefined.
    """
    parts = setting.method.parts_of(setting.classifier.backbone, setting.pretrained())
    parts = [part for part in parts if part.drop is not None]
    if not parts:
        raise UserError(f"{setting.spec.method.label} has no parts that could be dropped")
    means = part_contributions(setting, parts, setting.dev).mean(axis=0)
    found = greedy_removal(parts, means.tolist(), score=lambda: setting.headline_score(setting.dev), epsilon=epsilon)
    if found is None:
        raise UserError(f"{setting.headline} is undefined on the dev rows of {setting.spec.title}")
    dropped = {part.name for part in found}
    gone = [part for part in parts if part.name in dropped]
    left = [part for part in parts if part.name not in dropped]
    with removed(gone):  # a gate reads what the layers below yield without the parts that go
        folded = _constant_gates(setting, left, tolerance)
    return Plan(
        run=setting.spec,
        dropped=tuple(part.name for part in gone),
        folded=folded,
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


def apply(
    setting: Setting, plan: Plan, state: Mapping[str, Tensor] | None = None
) -> tuple[dict[str, Tensor], str | None]:
    """Drops and folds for good, loading `state` in between.

    Returns:
        What has to be stored, the trained tensors of what is left as they were before folding; and what the
        method could not merge, with its reason.
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
    if state is not None:
        _load(setting, kept, state)
    stored = {name: tensor.clone() for name, tensor in kept.items()}
    for name, value in plan.folded.items():
        fold = parts[name].fold
        assert fold is not None
        fold(value)
    unmerged = setting.method.merge(backbone)
    setting.classifier.eval()
    return stored, unmerged


def _load(setting: Setting, kept: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Puts the saved tensors in their places; `kept` names those that the folder must have."""
    places = state_tensors(setting.classifier)
    odd = {name for name, value in state.items() if name not in places or places[name].shape != value.shape}
    trained = {name for name, place in places.items() if place.requires_grad}
    odd |= (set(kept) - set(state)) | (trained & (set(state) - set(kept)))
    if odd:
        raise UserError(f"the compact weights do not fit the method as it is now ({min(odd)}); compact the run anew")
    with torch.no_grad():
        for name, value in state.items():
            places[name].copy_(value)


def save(into: Path, plan: Plan, state: Mapping[str, Tensor]) -> None:
    """Writes the plan and what `apply` says has to be stored into a folder."""
    from safetensors.torch import save_file

    into.mkdir(parents=True, exist_ok=True)
    temporary = into / f".{WEIGHTS}.tmp"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, temporary)
    temporary.replace(into / WEIGHTS)
    (into / PLAN).write_text(plan.model_dump_json(indent=1) + "\n", "utf-8")


def load(folder: str | Path) -> Classifier:
    """Loads a compact model: input_ids, attention_mask, ... -> logits, as `bench compact` saved it.

    Raises:
        UserError: the folder holds none, it is damaged, or the method has changed since.

    Examples:
        >>> import bench, torch
        >>> from pathlib import Path
        >>> from bench.parts.compaction import compact
        >>> done = bench.compare("lora[r=2]", preset="smoke", k=16, steps=2, weights="all",
        ...                      costs=False, energy=False, effective=False, profile=False, out="out")
        >>> compacted = compact(done.out, done.records[0], Path("small"), epsilon=0.0, tolerance=0.0, rounds=4)
        >>> classifier = bench.load_compact("small")
        >>> ids = torch.tensor([[5, 6, 7]])
        >>> classifier(input_ids=ids, attention_mask=torch.ones_like(ids)).shape
        torch.Size([1, 3])
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    if not (folder / PLAN).is_file() or not (folder / WEIGHTS).is_file():
        raise UserError(f"{folder} holds no compact model ({PLAN} and {WEIGHTS})")
    try:
        plan = Plan.model_validate_json((folder / PLAN).read_text("utf-8"))
        state = load_file(folder / WEIGHTS)
    except (SafetensorError, ValueError, OSError) as error:
        said = str(error).partition("\n")[0]
        raise UserError(f"{folder} holds a damaged model ({said}); run bench compact again") from error
    setting = prepare(plan.run)
    setting.method.eject(setting.classifier.backbone)
    apply(setting, plan, state)
    return setting.classifier
