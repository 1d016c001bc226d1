"""What a run works with: rows, tokens, the adapted classifier on its device."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.environment import usable_cpus
from bench.errors import UserError
from bench.meters.parameters import count_parameters, state_tensors
from bench.records.spec import HeadKind, Protocol, RunSpec
from bench.registry.methods import method_of
from bench.registry.tasks import resolve_task
from bench.sources.models import fetch
from bench.sources.split import Split, load_rows, split, unlike
from bench.tasks import Kind, Task
from bench.training.classifier import load_classifier
from bench.training.encoding import Batch, Encoded, batches, encode
from bench.training.loop import Scores, predict
from methods.kit.base import Classifier, Method, freeze


@dataclass(frozen=True, kw_only=True)
class Setting:
    """All that a run works with.

    Attributes:
        examples: who is trained on, who chooses the checkpoint, who is scored on.
        train, dev, test: their tokens.
        classifier: adapted, on its device.
        head: its kind.
        pretrained_parameters: of the backbone before it was adapted, without the head.
    """

    spec: RunSpec
    method: Method
    task: Task
    device: torch.device
    examples: Split
    train: Encoded
    dev: Encoded
    test: Encoded
    classifier: Classifier
    head: HeadKind
    pretrained_parameters: int

    @property
    def protocol(self) -> Protocol:
        """How it is trained and evaluated."""
        return self.spec.protocol

    @property
    def kind(self) -> Kind:
        """The kind of the task."""
        return self.examples.kind

    @property
    def headline(self) -> str:
        """The score that chooses the checkpoint."""
        return self.task.headline_of(self.kind.name)

    def train_batches(self, order: torch.Generator) -> Iterator[Batch]:
        """The batches of one epoch, shuffled."""
        protocol = self.protocol
        by_length = protocol.batches == "by-length"
        return on_device(batches(self.train, size=protocol.batch_size, order=order, by_length=by_length), self.device)

    def scores(self, part: Encoded, logits: torch.Tensor) -> Scores:
        """The scores that the task names, or all; logits as `logits(part)` gives them."""
        found = self.kind.score(part.labels.numpy(), logits.numpy())
        return {name: v for name, v in found.items() if not self.task.scores or name in self.task.scores}

    def test_batches(self) -> Iterator[Batch]:
        """The batches of the infer phase."""
        return on_device(batches(self.test, size=self.protocol.eval_batch_size), self.device)

    def stored_state(self) -> dict[str, torch.Tensor]:
        """What has to be kept to deploy, by name: call it after the method's eject."""
        return stored_tensors(self.classifier)

    @property
    def stored_parameters(self) -> int:
        """How many numbers have to be kept to deploy, without the head: call it after the method's eject."""
        return count_stored(self.classifier)

    def load_stored(self, state: Mapping[str, torch.Tensor]) -> str | None:
        """Puts kept tensors in their places, or changes nothing and names the first that does not fit."""
        places = state_tensors(self.classifier)
        odd = [name for name, value in state.items() if name not in places or places[name].shape != value.shape]
        odd += [name for name, place in places.items() if place.requires_grad and name not in state]
        if odd:
            return odd[0]
        with torch.no_grad():
            for name, value in state.items():
                places[name].copy_(value)
        return None

    def untrained(self) -> Setting:
        """The same with a classifier made anew, adapted and not trained. It shares no tensor with this one.

        Passes that take optimizer steps run on it, and it is thrown away.
        """
        method, seed = method_of(self.spec.method), self.spec.model_seed
        backbone = fetch(self.spec.model.name)
        fresh = load_classifier(backbone, outputs=self.examples.outputs, head=self.head, seed=seed)
        classifier = adapt(fresh, method, kind=self.kind, labels=self.train.labels, seed=seed).to(self.device)
        return replace(self, method=method, classifier=classifier)

    def pretrained(self) -> Mapping[str, torch.Tensor]:
        """The backbone's weights before training; read anew, and only where the method changed any."""
        if not self.method.thaws:
            return {}
        backbone = fetch(self.spec.model.name)
        fresh = load_classifier(backbone, outputs=self.examples.outputs, head=self.head, seed=self.spec.model_seed)
        return {name: tensor.to(self.device) for name, tensor in fresh.backbone.state_dict().items()}

    def verification_rows(self, most: int) -> tuple[Encoded, Encoded]:
        """Rows to choose a removal on, and others to test it on: none of the latter was trained on.

        The former are the first dev rows, in their order: all of them beside up to `most` spare rows of the task to
        test on. Where a task has fewer spare rows than half of its dev rows, one half of the dev rows is chosen on and
        the other is tested on, but for rows that share a text with the first half, the training rows or each other.
        All dev rows chose the checkpoint.
        """
        spare = self.examples.spare[:most]
        half = len(self.dev) // 2
        if len(spare) < min(half, most):
            first, second = self.examples.dev[:half], self.examples.dev[half:]
            tested = half + np.fromiter(unlike(second, (self.examples.train, first)), dtype=int)
            return self.dev.only(np.arange(half)), self.dev.only(tested[:most])
        tokenizer = fetch(self.spec.model.name).tokenizer()
        return self.dev, encode(spare, tokenizer, kind=self.kind, max_length=self.protocol.max_length)

    def headline_score(self, part: Encoded) -> float | None:
        """The headline score of the classifier as it is now; None where it is undefined."""
        return self.scores(part, self.logits(part)).get(self.headline)

    def logits(self, part: Encoded) -> torch.Tensor:
        """(examples, outputs) in the rows' order, on the CPU."""
        found = on_device(batches(part, size=self.protocol.eval_batch_size), self.device)
        return predict(self.classifier, found, protocol=self.protocol)


def prepare(spec: RunSpec, *, side_by_side: int = 1) -> Setting:
    """Loads data and weights, and adapts the classifier.

    Args:
        spec: what is asked.
        side_by_side: how many runs share the machine, and its CPUs unless the protocol sets the threads.

    Raises:
        UserError: what is asked cannot be done, or its sources changed since it was asked.
    """
    protocol = spec.protocol
    device = prepare_torch(protocol, side_by_side=side_by_side)
    method, task, backbone = method_of(spec.method), resolve_task(spec.task.name).task, fetch(spec.model.name)
    if backbone.spec != spec.model:
        raise UserError(f"model {spec.model.name} is {backbone.spec.revision} now, not {spec.model.revision}")
    rows = load_rows(task)
    if spec.is_trial:  # what is chosen by trials must not have seen a test row
        rows = replace(rows, test=[])
    examples = split(rows, k=spec.k, dev=protocol.dev_rows(spec.k), seed=spec.data_seed, kind=task.kind)
    tokenizer = backbone.tokenizer()
    parts = (examples.train, examples.dev, examples.test)
    tokens = [encode(part, tokenizer, kind=examples.kind, max_length=protocol.max_length) for part in parts]
    head = protocol.head or backbone.head
    fresh = load_classifier(
        backbone,
        outputs=examples.outputs,
        head=head,
        seed=spec.model_seed,
        padded_left=tokens[0].pad_left,
    )
    before = count_parameters(fresh, head=fresh.head_parameters().values())
    return Setting(
        spec=spec,
        method=method,
        task=task,
        device=device,
        examples=examples,
        train=tokens[0],
        dev=tokens[1],
        test=tokens[2],
        classifier=adapt(fresh, method, kind=examples.kind, labels=tokens[0].labels, seed=spec.model_seed).to(device),
        head=head,
        pretrained_parameters=before.backbone_parameters,
    )


def resolved_device(protocol: Protocol) -> str:
    """`cpu` or `cuda`: what `auto` means here."""
    if protocol.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return protocol.device


def prepare_torch(protocol: Protocol, *, side_by_side: int = 1) -> torch.device:
    """Fixes device, threads and determinism of this process.

    Raises:
        UserError: the device or the precision is not to be had here.
    """
    name = resolved_device(protocol)
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA device here; use --device cpu")
    if protocol.precision == "bf16" and name != "cuda":
        raise UserError("precision bf16 needs a CUDA device; use --precision float32")
    torch.set_num_threads(protocol.threads or max(1, usable_cpus() // side_by_side))
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only so
    # What use_deterministic_algorithms does, without the compiler that it imports for seconds.
    torch.set_deterministic_debug_mode("warn" if name == "cuda" else "error")
    # Filling fresh memory with NaN would cost time in every step, and no result depends on it.
    deterministic: Any = torch.utils.deterministic
    deterministic.fill_uninitialized_memory = False
    return torch.device(name)


def adapt(classifier: Classifier, method: Method, *, kind: Kind, labels: torch.Tensor, seed: int) -> Classifier:
    """Freezes the backbone, lets the method adapt it, thaws the head: the same for every method.

    Args:
        classifier: fresh.
        method: inserts or thaws.
        kind: of the task.
        labels: of the training rows.
        seed: of the initial values of what the method inserts.
    """
    freeze(classifier)
    before = state_tensors(classifier)
    start = {id(t): t if isinstance(t, nn.Parameter) else t.detach().clone() for t in before.values()}
    torch.manual_seed(seed)
    method.adapt(classifier.backbone)
    for parameter in classifier.head_parameters().values():
        parameter.requires_grad_(True)
    classifier.constant = partial(kind.constant, outputs=classifier.outputs)
    adapted = method.begin(classifier, labels)
    named = [*before.items(), *state_tensors(adapted).items()]
    adapted.start = {name: start[id(tensor)] for name, tensor in named if id(tensor) in start}
    return adapted


def stored_tensors(classifier: Classifier) -> dict[str, torch.Tensor]:
    """What has to be kept to deploy an ejected classifier beside the pretrained model, by name.

    That is what was trained, and every parameter and persistent buffer that the method added or whose value
    it changed. Of a model without values (`meta`) no value counts as changed.
    """
    start = classifier.start
    frozen = {id(tensor) for tensor in start.values()}

    def changed(name: str, tensor: torch.Tensor) -> bool:
        if isinstance(tensor, nn.Parameter):
            return tensor.requires_grad or (name not in start and id(tensor) not in frozen)
        return name not in start or not (tensor.is_meta or torch.equal(tensor.cpu(), start[name].cpu()))

    return {name: t.detach() for name, t in state_tensors(classifier).items() if changed(name, t)}


def count_stored(classifier: Classifier) -> int:
    """How many numbers of `stored_tensors` are not the head's; a buffer outside the backbone is the head's."""
    head, places = classifier.head_parameters(), state_tensors(classifier)
    outside = {id(buffer) for buffer in classifier.buffers()} - {id(b) for b in classifier.backbone.buffers()}
    stored = stored_tensors(classifier)
    return sum(t.numel() for name, t in stored.items() if name not in head and id(places[name]) not in outside)


def on_device(found: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Moves batches to the device as they are asked for."""
    for batch in found:
        inputs = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.inputs.items()}
        yield Batch(inputs, batch.labels.to(device, non_blocking=True), batch.rows)
