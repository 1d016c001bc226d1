"""Counts and FLOPs of a method on a model of shapes alone: no weights, no training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bench.classifier import shaped_classifier
from bench.config import Frozen, HeadKind
from bench.errors import UserError
from bench.loop import loss_of
from bench.meters.flops import Batch, CountMismatchError, UncountedAttentionError, count_flops
from bench.meters.parameters import count_parameters, safetensors_bytes
from bench.meters.run_flops import token_batch
from bench.models import SHIPPED, find
from bench.reach import hub_in_reach
from bench.registry import ResolvedMethod
from bench.setting import adapt
from bench.shapes import shape_config

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from methods.base import Classifier, Method


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
    train_step_flops: int | None = None
    """Of forward and backward pass on the batch; None where nothing is trained."""
    unsupported_operators: tuple[str, ...] = ()
    """Did arithmetic and are not in the FLOPs."""
    reason: str | None = None
    """Why something is None."""


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
    most = getattr(config, "max_position_embeddings", None)
    if most is not None and tokens > most:
        raise UserError(f"--tokens {tokens} is more than the {most} positions of {model}")
    rows = []
    for method in methods:
        inputs = token_batch((batch, tokens), device="meta")
        row = _inspect(method.method, config, head or usual, outputs, inputs)
        rows.append(Inspection(method=method.spec.label, **row))
    return rows


def _inspect(method: Method, config: PretrainedConfig, head: HeadKind, outputs: int, batch: Batch) -> dict[str, Any]:
    reason = method.unsupported(config)
    if reason is not None:
        return {"reason": reason}
    fresh = shaped_classifier(config, outputs=outputs, head=head)
    before = count_parameters(fresh, head=fresh.head_parameters().values())
    labels = torch.zeros(2, dtype=torch.long) if outputs > 1 else torch.zeros(2)
    with torch.device("meta"):
        classifier = adapt(fresh, method, labels=labels, seed=0)
    trained = count_parameters(classifier, head=classifier.head_parameters().values())
    targets = torch.zeros(len(next(iter(batch.values()))), dtype=labels.dtype)
    found: dict[str, Any] = {
        "trained_parameters": trained.trained_parameters,
        "head_parameters": trained.trained_head_parameters,
        "backbone_parameters": before.backbone_parameters,
    }
    operators: set[str] = set()
    try:
        step = count_flops(classifier, batch, loss_fn=lambda logits: loss_of(logits, targets))
        _eject(method, classifier)
        forward = count_flops(classifier.eval(), batch, loss_fn=None)
        operators = {*step.unsupported_operators, *forward.unsupported_operators}
        found |= {"train_step_flops": step.train_step_flops, "forward_flops": forward.forward_flops}
        if step.train_step_flops is None:
            found["reason"] = step.reason
    except (UncountedAttentionError, CountMismatchError) as error:
        found["reason"] = str(error)
        _eject(method, classifier)
    stored = {name: p for name, p in classifier.named_parameters() if p.requires_grad}
    head_names = set(classifier.head_parameters())
    found |= {
        "unsupported_operators": tuple(sorted(operators)),
        "stored_parameters": sum(p.numel() for name, p in stored.items() if name not in head_names),
        "stored_bytes": safetensors_bytes(stored),
    }
    return found


def _eject(method: Method, classifier: Classifier) -> None:
    with torch.device("meta"):
        method.eject(classifier.backbone)


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
