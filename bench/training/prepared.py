"""Prepares a run: loads rows and weights, tokenizes, and lets the method adapt the classifier."""

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
from bench.sources.models import fetch_model
from bench.sources.split import Split, load_rows, split, unlike
from bench.tasks import Kind, Task
from bench.training.classifier import load_classifier
from bench.training.encoding import Batch, Encoded, batches, encode
from bench.training.loop import ScoreByName, predict
from methods.kit.base import Classifier, Method, freeze


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A run that is ready to be trained and scored.

    Attributes:
        spec: the specification of the run.
        method: the method.
        task: the task.
        device: the device of the classifier.
        examples: the rows for training, choosing the checkpoint, and scoring.
        train: the tokens of the training rows.
        dev: the tokens of the dev rows.
        test: the tokens of the test rows.
        classifier: the adapted classifier on its device.
        head: the kind of head.
        pretrained_parameters: the number of parameters of the backbone before it was adapted, without the head.
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
        """The settings of training and evaluation."""
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
        """Yields the batches of one epoch, shuffled."""
        protocol = self.protocol
        by_length = protocol.batches == "by-length"
        return on_device(batches(self.train, size=protocol.batch_size, order=order, by_length=by_length), self.device)

    def scores(self, part: Encoded, logits: torch.Tensor) -> ScoreByName:
        """Computes the scores that the task names, or all scores of the kind, from the result of `logits(part)`."""
        scores = self.kind.score(part.labels.numpy(), logits.numpy())
        return {name: value for name, value in scores.items() if not self.task.scores or name in self.task.scores}

    def test_batches(self) -> Iterator[Batch]:
        """Yields the batches of the test rows."""
        return on_device(batches(self.test, size=self.protocol.eval_batch_size), self.device)

    def stored_state(self) -> dict[str, torch.Tensor]:
        """Returns name -> tensor for all that must be stored to deploy the model. Call it after `method.eject`."""
        return stored_tensors(self.classifier)

    @property
    def stored_parameters(self) -> int:
        """The number of parameters to store for deployment, without the head. Read it after `method.eject`."""
        return count_stored(self.classifier)

    def load_stored(self, state: Mapping[str, torch.Tensor]) -> str | None:
        """Copies stored tensors into the classifier.

        Returns:
            None; or the name of the first tensor that does not fit or is missing, and then nothing is changed.
        """
        places = state_tensors(self.classifier)
        unfit = [name for name, value in state.items() if name not in places or places[name].shape != value.shape]
        unfit += [name for name, place in places.items() if place.requires_grad and name not in state]
        if unfit:
            return unfit[0]
        with torch.no_grad():
            for name, value in state.items():
                places[name].copy_(value)
        return None

    def untrained(self) -> Setting:
        """Returns a copy with a new classifier, adapted and not trained, which shares no tensor with this one.

        Measurements that take optimizer steps use the copy, so that they cannot change the trained model.
        """
        method, seed = method_of(self.spec.method), self.spec.model_seed
        backbone = fetch_model(self.spec.model.name)
        fresh = load_classifier(backbone, outputs=self.examples.outputs, head=self.head, seed=seed)
        classifier = adapt(fresh, method, kind=self.kind, labels=self.train.labels, seed=seed).to(self.device)
        return replace(self, method=method, classifier=classifier)

    def pretrained(self) -> Mapping[str, torch.Tensor]:
        """Reads the weights of the backbone before training; empty if the method trains none of them."""
        if not self.method.thaws:
            return {}
        backbone = fetch_model(self.spec.model.name)
        fresh = load_classifier(backbone, outputs=self.examples.outputs, head=self.head, seed=self.spec.model_seed)
        return {name: tensor.to(self.device) for name, tensor in fresh.backbone.state_dict().items()}

    def verification_rows(self, most: int) -> tuple[Encoded, Encoded]:
        """Returns rows to choose the removal of parts on, and other rows to test the removal on.

        These are the dev rows and up to `most` spare rows of the task. If the task has fewer spare rows than half of
        its dev rows, the first half of the dev rows is chosen on, and the second half is tested on, without rows that
        share a text with the first half, with the training rows or with each other. No row that is tested on was
        trained on, but all dev rows took part in choosing the checkpoint.
        """
        spare = self.examples.spare[:most]
        half = len(self.dev) // 2
        if len(spare) < min(half, most):
            first, second = self.examples.dev[:half], self.examples.dev[half:]
            tested = half + np.fromiter(unlike(second, (self.examples.train, first)), dtype=int)
            return self.dev.only(np.arange(half)), self.dev.only(tested[:most])
        tokenizer = fetch_model(self.spec.model.name).tokenizer()
        return self.dev, encode(spare, tokenizer, kind=self.kind, max_length=self.protocol.max_length)

    def headline_score(self, part: Encoded) -> float | None:
        """Computes the headline score of the classifier as it is now; None if the score is undefined."""
        return self.scores(part, self.logits(part)).get(self.headline)

    def logits(self, part: Encoded) -> torch.Tensor:
        """Computes the logits of a part, (examples, outputs), on the CPU, in the order of its rows."""
        evaluated = on_device(batches(part, size=self.protocol.eval_batch_size), self.device)
        return predict(self.classifier, evaluated, protocol=self.protocol)


def prepare(spec: RunSpec, *, side_by_side: int = 1) -> Setting:
    """Loads rows and weights, and lets the method adapt the classifier.

    Args:
        spec: what is asked.
        side_by_side: how many runs share the machine, and its CPUs unless the protocol sets the threads.

    Raises:
        UserError: the run cannot be done here, or the method's code or the weights have changed since it was planned.
    """
    protocol = spec.protocol
    device = prepare_torch(protocol, side_by_side=side_by_side)
    method, task, backbone = method_of(spec.method), resolve_task(spec.task.name).task, fetch_model(spec.model.name)
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
    """Returns `cpu` or `cuda`. The device `auto` of a protocol is `cuda` where there is a CUDA device."""
    if protocol.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return protocol.device


def prepare_torch(protocol: Protocol, *, side_by_side: int = 1) -> torch.device:
    """Sets the number of threads of this process and makes its operations deterministic; returns the device.

    Raises:
        UserError: the device or the precision of the protocol is not available here.
    """
    name = resolved_device(protocol)
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA device here; use --device cpu")
    if protocol.precision == "bf16" and name != "cuda":
        raise UserError("precision bf16 needs a CUDA device; use --precision float32")
    torch.set_num_threads(protocol.threads or max(1, usable_cpus() // side_by_side))
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without this cuBLAS is not deterministic
    # The same as use_deterministic_algorithms, which imports torch's compiler and so takes seconds.
    torch.set_deterministic_debug_mode("warn" if name == "cuda" else "error")
    # Filling fresh memory with NaN would cost time in every step, and no result depends on it.
    deterministic: Any = torch.utils.deterministic
    deterministic.fill_uninitialized_memory = False
    return torch.device(name)


def adapt(classifier: Classifier, method: Method, *, kind: Kind, labels: torch.Tensor, seed: int) -> Classifier:
    """Freezes the backbone, lets the method adapt it, and makes the head trainable. This is the same for all methods.

    Args:
        classifier: a new classifier.
        method: the method, which inserts modules or makes weights of the backbone trainable.
        kind: the kind of the task.
        labels: (rows,) the labels of the training rows.
        seed: the seed of the initial values of inserted modules.

    Returns:
        The adapted classifier, whose `start` holds the values of all tensors before the adaptation.
    """
    freeze(classifier)
    before = state_tensors(classifier)
    # A frozen parameter keeps its value, so it needs no copy; a buffer may be changed in place.
    start = {id(t): t if isinstance(t, nn.Parameter) else t.detach().clone() for t in before.values()}
    torch.manual_seed(seed)
    method.adapt(classifier.backbone)
    for parameter in classifier.head_parameters().values():
        parameter.requires_grad_(True)
    classifier.constant = partial(kind.constant, outputs=classifier.outputs)
    adapted = method.begin(classifier, labels)
    # The method may have wrapped a module and so changed names: a tensor is found under its old and its new name.
    named = [*before.items(), *state_tensors(adapted).items()]
    adapted.start = {name: start[id(tensor)] for name, tensor in named if id(tensor) in start}
    return adapted


def stored_tensors(classifier: Classifier) -> dict[str, torch.Tensor]:
    """Returns name -> tensor for all that must be stored, besides the pretrained model, to deploy a classifier.

    These are the trained parameters, and every parameter and persistent buffer that the method added or changed. In a
    model without values (on `meta`) no value counts as changed. Call this after `method.eject`.
    """
    start = classifier.start
    frozen = {id(tensor) for tensor in start.values()}

    def changed(name: str, tensor: torch.Tensor) -> bool:
        if isinstance(tensor, nn.Parameter):
            return tensor.requires_grad or (name not in start and id(tensor) not in frozen)
        return name not in start or not (tensor.is_meta or torch.equal(tensor.cpu(), start[name].cpu()))

    return {name: t.detach() for name, t in state_tensors(classifier).items() if changed(name, t)}


def count_stored(classifier: Classifier) -> int:
    """Counts the numbers in `stored_tensors` that do not belong to the head, as buffers outside the backbone do."""
    head, places = classifier.head_parameters(), state_tensors(classifier)
    outside = {id(buffer) for buffer in classifier.buffers()} - {id(b) for b in classifier.backbone.buffers()}
    stored = stored_tensors(classifier)
    return sum(t.numel() for name, t in stored.items() if name not in head and id(places[name]) not in outside)


def on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Moves batches to the device, one at a time."""
    for batch in batches:
        inputs = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.inputs.items()}
        yield Batch(inputs, batch.labels.to(device, non_blocking=True), batch.rows)
