"""Counts parameters, bytes and FLOPs of a method on a model before any training, without its weights."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from bench.errors import UserError, described
from bench.meters.instruments.flop_counter import BatchFlops, LossFn, ModelInputs, count_flops
from bench.meters.instruments.operators import UncountedAttentionError
from bench.meters.instruments.run_flops import Shape, token_batch
from bench.meters.instruments.trace import fvcore_flops
from bench.meters.parameters import count_parameters, safetensors_bytes
from bench.records.spec import Frozen, HeadKind
from bench.registry.methods import ResolvedMethod
from bench.sources.models import SHIPPED, find
from bench.sources.random_models import shape_config
from bench.sources.reach import hub_in_reach
from bench.tasks import kind_of_outputs
from bench.training.classifier import shaped_classifier
from bench.training.prepared import adapt, count_stored, stored_tensors
from methods.kit.sites import positions

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from methods.kit.base import Classifier, Method


class Inspection(Frozen):
    """The counts of one method on one model before any training. A figure is None if it could not be counted."""

    method: str
    trained_parameters: int | None = None
    """Parameters that require a gradient, without those of the head."""
    stored_parameters: int | None = None
    """Parameters that deployment needs beside the pretrained model, without those of the head."""
    head_parameters: int | None = None
    """Trained parameters of the head."""
    backbone_parameters: int | None = None
    """Parameters of the pretrained model without a head."""
    stored_bytes: int | None = None
    """Size in bytes of the safetensors file that deployment needs, head included."""
    forward_flops: int | None = None
    """FLOPs of a forward pass on the batch, as deployed (after `eject`, without `merge`)."""
    forward_flops_fvcore: int | None = None
    """FLOPs of the same pass by fvcore, as a second, independent count."""
    train_step_flops: int | None = None
    """FLOPs of forward and backward pass on the batch; None where nothing is trained."""
    unsupported_operators: tuple[str, ...] = ()
    """Names of operators that did arithmetic and are not counted in the FLOPs."""
    reason: str | None = None
    """Why a figure is None."""
    note: str | None = None
    """What the counts leave out that deploying needs, or why there is no second count."""

    @property
    def difference(self) -> int | None:
        """The count by fvcore minus the count by torch; 0 where both counted the same work."""
        if self.forward_flops is None or self.forward_flops_fvcore is None:
            return None
        return self.forward_flops_fvcore - self.forward_flops


DRAWN_AGAIN = "what it drew at random and never trains is not stored: the same seed has to draw it again"
"""The note on methods, such as VeRA, that need frozen random numbers which they do not store."""


def inspect(
    methods: Sequence[ResolvedMethod], model: str, *, head: HeadKind | None, outputs: int, batch: int, tokens: int
) -> list[Inspection]:
    """Counts every method on a model.

    Args:
        methods: the methods to count.
        model: a name, a hub id, a folder, or a config.json.
        head: the kind of head; None takes the usual one of the model.
        outputs: how many logits the head has.
        batch: examples in the batch that FLOPs are counted for.
        tokens: their padded length.

    Returns:
        One result a method, in the order of `methods`.

    Raises:
        UserError: there is no such model, or it has fewer positions than `tokens`.
    """
    config, usual = config_of(model)
    most = positions(config)
    if most is not None and tokens > most:
        raise UserError(f"--tokens {tokens} is more than the {most} positions of {model}")
    rows = []
    for method in methods:
        row = _inspect(method, _Workload(config, head or usual, outputs, (batch, tokens)))
        notes = [*([DRAWN_AGAIN] if method.method.draws_again else []), *row.pop("notes", [])]
        rows.append(Inspection(method=method.spec.label, note="; ".join(notes) or None, **row))
    return rows


@dataclass(frozen=True)
class _Workload:
    """What methods are counted on: configuration and head of the model, and the shape of the batch, (rows, tokens)."""

    config: PretrainedConfig
    head: HeadKind
    outputs: int
    shape: Shape


def _inspect(resolved: ResolvedMethod, workload: _Workload) -> dict[str, Any]:
    """Counts one method, on shapes alone if that is possible, else on a model with random weights."""
    reason, method = resolved.refusal(workload.config), resolved.method
    if reason is not None:
        return {"reason": reason}
    figures, error = _counted(method, workload, "meta")
    if error is None or isinstance(error, UncountedAttentionError):  # running for real would not mend the latter
        return figures
    most = _half_of_memory()
    size = 4 * figures["backbone_parameters"]
    if size > most:
        room = f"{size / 1e9:.1f} GB of weights are more than half of this machine's memory"
        return {**figures, "reason": f"it cannot be counted from shapes ({described(error)}), and {room}"}
    return _counted(method, workload, "cpu")[0]


def _counted(
    method: Method, workload: _Workload, device: Literal["meta", "cpu"]
) -> tuple[dict[str, Any], Exception | None]:
    """Counts one method on a device.

    Returns:
        The fields of `Inspection` that could be counted, with a `reason` for the others, and the error, if any.
    """
    fresh = shaped_classifier(workload.config, outputs=workload.outputs, head=workload.head, device=device)
    figures: dict[str, Any] = {
        "backbone_parameters": count_parameters(fresh, head=fresh.head_parameters().values()).backbone_parameters
    }
    kind = kind_of_outputs(workload.outputs)
    labels, targets = kind.made_up((2, workload.shape[1])), kind.made_up(workload.shape)
    batch = token_batch(workload.shape, device=device)
    try:
        with torch.device(device):
            classifier = adapt(fresh, method, kind=kind, labels=labels, seed=0)
        figures |= _trained(classifier)
        step = _flops(classifier, batch, lambda logits: kind.loss(logits, targets))
        with torch.device(device):
            method.eject(classifier.backbone)
        figures |= _stored(classifier)
        forward = _flops(classifier.eval(), batch, None)
        second = fvcore_flops(classifier, batch)
    except Exception as error:  # an author's code may raise anything, and the reason says what and where
        return {**figures, "reason": f"it cannot be counted: {described(error)}"}, error
    failed = next((count for count in (step, forward) if isinstance(count, Exception)), None)
    if not isinstance(step, Exception):
        figures |= {"train_step_flops": step.train_step_flops, "reason": step.reason}
    if not isinstance(forward, Exception):
        figures["forward_flops"] = forward.forward_flops
        if isinstance(second, str):
            figures["notes"] = [second]
        else:
            figures["forward_flops_fvcore"] = second
    operators = [count.unsupported_operators for count in (step, forward) if not isinstance(count, Exception)]
    figures["unsupported_operators"] = tuple(sorted({name for names in operators for name in names}))
    if failed is not None:
        figures["reason"] = f"FLOPs: {described(failed)}"
    return figures, failed


def _trained(classifier: Classifier) -> dict[str, int]:
    counts = count_parameters(classifier, head=classifier.head_parameters().values())
    return {"trained_parameters": counts.trained_parameters, "head_parameters": counts.trained_head_parameters}


def _stored(classifier: Classifier) -> dict[str, int]:
    return {
        "stored_parameters": count_stored(classifier),
        "stored_bytes": safetensors_bytes(stored_tensors(classifier)),
    }


def _flops(classifier: Classifier, batch: ModelInputs, loss_fn: LossFn | None) -> BatchFlops | Exception:
    try:
        return count_flops(classifier, batch, loss_fn=loss_fn)
    except Exception as error:  # the counts of parameters are worth having without it
        return error


def _half_of_memory() -> float:
    """Half of this machine's physical memory, in bytes; infinite where the system does not tell."""
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return math.inf
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2


def config_of(model: str) -> tuple[PretrainedConfig, HeadKind]:
    """The configuration and the usual head of a model. No weights are fetched.

    Args:
        model: a shipped name, a random shape, a hub id, a folder, or a config.json.

    Raises:
        UserError: there is no such model, or its configuration cannot be had.
    """
    from transformers import AutoConfig

    if model.endswith(".json") and Path(model).is_file():
        return _read(model, lambda: AutoConfig.from_pretrained(model)), "native"
    origin = find(model)
    if origin == "wheel":
        shipped = SHIPPED[model]
        return AutoConfig.for_model(**shipped.config), shipped.head
    if origin == "random":
        return shape_config(model), "native"
    if origin == "hub":
        offline = not hub_in_reach()
        return _read(model, lambda: AutoConfig.from_pretrained(model, local_files_only=offline)), "native"
    return _read(model, lambda: AutoConfig.from_pretrained(model, local_files_only=True)), "native"


def _read(model: str, read: Callable[[], PretrainedConfig]) -> PretrainedConfig:
    try:
        return read()
    except (OSError, ValueError, KeyError) as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"model {model}: its configuration cannot be had: {line}") from error
