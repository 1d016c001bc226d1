"""Counts and FLOPs of a method on a model of shapes alone: no weights, no training."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from bench.errors import UserError, described
from bench.meters.instruments.flop_counter import Batch, Flops, LossFn, count_flops
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
    """What is known of a method on a model before anything is trained. None: could not be counted."""

    method: str
    trained_parameters: int | None = None
    """Require a gradient; without the head."""
    stored_parameters: int | None = None
    """Have to be kept to deploy; without the head."""
    head_parameters: int | None = None
    """Of the head."""
    backbone_parameters: int | None = None
    """Of the bare base model."""
    stored_bytes: int | None = None
    """Of the safetensors file that deployment needs, head included."""
    forward_flops: int | None = None
    """Of a forward pass on the batch, as deployed (after eject, unmerged)."""
    forward_flops_fvcore: int | None = None
    """The same by fvcore, a second and independent count."""
    train_step_flops: int | None = None
    """Of forward and backward pass on the batch; None where nothing is trained."""
    unsupported_operators: tuple[str, ...] = ()
    """Did arithmetic and are not in the FLOPs."""
    reason: str | None = None
    """Why something is None."""
    note: str | None = None
    """What the counts leave out that deploying needs, or why there is no second count."""

    @property
    def difference(self) -> int | None:
        """Fvcore's count of the forward pass less the first one; 0 where both saw the same work."""
        if self.forward_flops is None or self.forward_flops_fvcore is None:
            return None
        return self.forward_flops_fvcore - self.forward_flops


DRAWN_AGAIN = "what it drew at random and never trains is not stored: the same seed has to draw it again"


def inspect(
    methods: Sequence[ResolvedMethod], model: str, *, head: HeadKind | None, outputs: int, batch: int, tokens: int
) -> list[Inspection]:
    """Counts every method on a model.

    Args:
        methods: to count.
        model: a name, a hub id, a folder, or a config.json.
        head: its kind; None: the model's usual one.
        outputs: logits of the head.
        batch: examples.
        tokens: padded length.
    """
    config, usual = config_of(model)
    most = positions(config)
    if most is not None and tokens > most:
        raise UserError(f"--tokens {tokens} is more than the {most} positions of {model}")
    rows = []
    for method in methods:
        row = _inspect(method, _Asked(config, head or usual, outputs, (batch, tokens)))
        notes = [*([DRAWN_AGAIN] if method.method.draws_again else []), *row.pop("notes", [])]
        rows.append(Inspection(method=method.spec.label, note="; ".join(notes) or None, **row))
    return rows


@dataclass(frozen=True)
class _Asked:
    """What methods are counted on: the model, and the batch's shape."""

    config: PretrainedConfig
    head: HeadKind
    outputs: int
    shape: Shape


def _inspect(resolved: ResolvedMethod, asked: _Asked) -> dict[str, Any]:
    """The figures of one method; from shapes if they are enough, else from a model of random weights."""
    reason, method = resolved.refusal(asked.config), resolved.method
    if reason is not None:
        return {"reason": reason}
    found, error = _counted(method, asked, "meta")
    if error is None or isinstance(error, UncountedAttentionError):  # running for real would not mend the latter
        return found
    most = _half_of_memory()
    size = 4 * found["backbone_parameters"]
    if size > most:
        room = f"{size / 1e9:.1f} GB of weights are more than half of this machine's memory"
        return {**found, "reason": f"it cannot be counted from shapes ({described(error)}), and {room}"}
    return _counted(method, asked, "cpu")[0]


def _counted(method: Method, asked: _Asked, device: Literal["meta", "cpu"]) -> tuple[dict[str, Any], Exception | None]:
    """The figures that can be had on a device, with the reason for those that cannot, and what went wrong."""
    fresh = shaped_classifier(asked.config, outputs=asked.outputs, head=asked.head, device=device)
    found: dict[str, Any] = {
        "backbone_parameters": count_parameters(fresh, head=fresh.head_parameters().values()).backbone_parameters
    }
    kind = kind_of_outputs(asked.outputs)
    labels, targets = kind.made_up((2, asked.shape[1])), kind.made_up(asked.shape)
    batch = token_batch(asked.shape, device=device)
    try:
        with torch.device(device):
            classifier = adapt(fresh, method, kind=kind, labels=labels, seed=0)
        found |= _trained(classifier)
        step = _flops(classifier, batch, lambda logits: kind.loss(logits, targets))
        with torch.device(device):
            method.eject(classifier.backbone)
        found |= _stored(classifier)
        forward = _flops(classifier.eval(), batch, None)
        second = fvcore_flops(classifier, batch)
    except Exception as error:  # an author's code may raise anything, and the reason says what and where
        return {**found, "reason": f"it cannot be counted: {described(error)}"}, error
    failed = next((count for count in (step, forward) if isinstance(count, Exception)), None)
    if not isinstance(step, Exception):
        found |= {"train_step_flops": step.train_step_flops, "reason": step.reason}
    if not isinstance(forward, Exception):
        found["forward_flops"] = forward.forward_flops
        if isinstance(second, str):
            found["notes"] = [second]
        else:
            found["forward_flops_fvcore"] = second
    operators = [count.unsupported_operators for count in (step, forward) if not isinstance(count, Exception)]
    found["unsupported_operators"] = tuple(sorted({name for names in operators for name in names}))
    if failed is not None:
        found["reason"] = f"FLOPs: {described(failed)}"
    return found, failed


def _trained(classifier: Classifier) -> dict[str, int]:
    counts = count_parameters(classifier, head=classifier.head_parameters().values())
    return {"trained_parameters": counts.trained_parameters, "head_parameters": counts.trained_head_parameters}


def _stored(classifier: Classifier) -> dict[str, int]:
    return {
        "stored_parameters": count_stored(classifier),
        "stored_bytes": safetensors_bytes(stored_tensors(classifier)),
    }


def _flops(classifier: Classifier, batch: Batch, loss_fn: LossFn | None) -> Flops | Exception:
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
    """A model's configuration and usual head; fetches no weights.

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
