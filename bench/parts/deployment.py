"""Compact models: idle parts dropped, constant gates folded into the weights; planned, saved and loaded.

Only the trained tensors of the parts that stay are saved, so the file is small. The loader adapts the pretrained
backbone as before training, drops and folds the same parts, and reads these tensors into it.
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
from methods.kit.gates import Reading
from methods.kit.parts import Part

PLAN, WEIGHTS = "compact.json", "model.safetensors"


class Plan(Frozen):
    """How a run's model is made compact.

    Attributes:
        run: the specification of the run.
        dropped: names of the parts that are removed.
        folded: name of a part -> the constant that replaces its gate.
        classes: names of the classes, in the order of the logits; None for regression.
    """

    run: RunSpec
    dropped: tuple[str, ...]
    folded: dict[str, float]
    classes: tuple[str, ...] | None


def make_plan(setting: Setting, *, epsilon: float, tolerance: float) -> Plan:
    """Decides which parts are dropped and which gates become constants; the model is left as it was.

    Args:
        setting: the trained classifier with its data.
        epsilon: how far the dev score may fall by dropping parts.
        tolerance: a gate whose standard deviation over the dev rows is at most this becomes a constant.

    Raises:
        UserError: the method has no parts, or the dev score is undefined.
    """
    parts = setting.method.parts_of(setting.classifier.backbone, setting.pretrained())
    parts = [part for part in parts if part.drop is not None]
    if not parts:
        raise UserError(f"{setting.spec.method.label} has no parts that could be dropped")
    means = part_contributions(setting, parts, setting.dev).mean(axis=0)
    removable = greedy_removal(
        parts, means.tolist(), score=lambda: setting.headline_score(setting.dev), epsilon=epsilon
    )
    if removable is None:
        raise UserError(f"{setting.headline} is undefined on the dev rows of {setting.spec.title}")
    dropped = {part.name for part in removable}
    gone = [part for part in parts if part.name in dropped]  # in the order of the model
    left = [part for part in parts if part.name not in dropped]
    with removed(gone):  # a gate reads hidden states, which change when parts below it are dropped
        folded = _constant_gates(setting, left, tolerance)
    return Plan(
        run=setting.spec,
        dropped=tuple(part.name for part in gone),
        folded=folded,
        classes=None if setting.examples.labels is None else tuple(setting.examples.labels),
    )


def _constant_gates(setting: Setting, parts: Sequence[Part], tolerance: float) -> dict[str, float]:
    """Finds the parts whose gate hardly varies over the dev rows: name -> mean of the gate there."""
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
    """Carries out a plan on a freshly adapted classifier, for good.

    Args:
        setting: the classifier, ejected.
        plan: what is dropped and folded.
        state: saved tensors to load between dropping and folding; None keeps the present ones.

    Returns:
        The tensors to store (the trained ones of the parts that stay, from before folding), and what the method could
        not merge, with the reason; None if there is no such thing.

    Raises:
        UserError: `state` does not fit the method.
    """
    backbone = setting.classifier.backbone
    parts = {part.name: part for part in setting.method.parts_of(backbone, setting.pretrained())}
    for name in plan.dropped:
        drop = parts[name].drop
        assert drop is not None, "make_plan chooses among parts that can be dropped"
        drop()
    for reading in _unread(parts, plan):
        reading.retire()
    kept = setting.stored_state()
    if state is not None:
        _load(setting, kept, state)
    # Folding writes into some of these tensors, so they are copied first.
    stored = {name: tensor.clone() for name, tensor in kept.items()}
    for name, value in plan.folded.items():
        fold = parts[name].fold
        assert fold is not None, "make_plan chooses among gates that can be folded"
        fold(value)
    unmerged = setting.method.merge(backbone)
    setting.classifier.eval()
    return stored, unmerged


def _unread(parts: Mapping[str, Part], plan: Plan) -> list[Reading]:
    """The gate modules that no part needs once the parts of the plan are dropped and its gates are constants."""
    by_part = {name: part.gate.reading for name, part in parts.items() if part.gate is not None}
    needed = {reading for name, reading in by_part.items() if name not in plan.dropped and name not in plan.folded}
    return [reading for reading in dict.fromkeys(by_part.values()) if reading not in needed]


def _load(setting: Setting, kept: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Copies the saved tensors into the classifier.

    Args:
        setting: the classifier, parts dropped.
        kept: the tensors that must be among the saved ones, by name.
        state: the saved tensors.

    Raises:
        UserError: a tensor is missing, too many, or of another shape.
    """
    places = state_tensors(setting.classifier)
    misfits = {name for name, value in state.items() if name not in places or places[name].shape != value.shape}
    trained = {name for name, place in places.items() if place.requires_grad}
    misfits |= (set(kept) - set(state)) | (trained & (set(state) - set(kept)))
    if misfits:
        raise UserError(
            f"the compact weights do not fit the method as it is now ({min(misfits)}); compact the run anew"
        )
    with torch.no_grad():
        for name, value in state.items():
            places[name].copy_(value)


def save(into: Path, plan: Plan, state: Mapping[str, Tensor]) -> None:
    """Writes a plan and the tensors that `apply` returned: compact.json and model.safetensors in the folder `into`."""
    from safetensors.torch import save_file

    into.mkdir(parents=True, exist_ok=True)
    # Written beside and renamed, so that an interruption leaves no half file under the real name.
    temporary = into / f".{WEIGHTS}.tmp"
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, temporary)
    temporary.replace(into / WEIGHTS)
    (into / PLAN).write_text(plan.model_dump_json(indent=1) + "\n", "utf-8")


def load(folder: str | Path) -> Classifier:
    """Loads the compact model that `bench compact` saved in a folder.

    Returns:
        A classifier in evaluation mode, from input_ids, attention_mask, ... to logits (batch, outputs).

    Raises:
        UserError: the folder holds no compact model, it is damaged, or the method has changed since.

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
