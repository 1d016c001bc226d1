"""One run: what was asked in, a record out."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import torch

from bench.classifier import load_classifier
from bench.config import HeadKind, Protocol, RunSpec
from bench.data import Split, load_rows, split
from bench.encoding import Batch, Encoded, batches, encode
from bench.environment import describe, usable_cpus
from bench.errors import UserError
from bench.loop import Scores, Training, head_rate, predict, train
from bench.meters.clock import Clock, synchronizer
from bench.meters.parameters import count_parameters
from bench.models import fetch
from bench.progress import Report
from bench.registry import method_of
from bench.store import Evaluation, Record, Result
from bench.task_registry import resolve_task
from methods.base import Classifier, Method, freeze
from tasks import Task, score

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Outcome:
    """A record and the arrays that belong to it: `logits` and `labels` on the test rows."""

    record: Record
    outputs: Mapping[str, np.ndarray]


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
    def headline(self) -> str:
        """The score that chooses the checkpoint."""
        return self.task.headline_of(self.examples.kind)

    def train_batches(self, order: torch.Generator) -> Iterator[Batch]:
        """The batches of one epoch, shuffled."""
        return on_device(batches(self.train, size=self.protocol.batch_size, order=order), self.device)

    def scores(self, part: Encoded, logits: torch.Tensor) -> Scores:
        """The scores that the task names, or all; logits as `logits(part)` gives them."""
        found = score(self.examples.kind, part.labels.numpy(), logits.numpy())
        return {name: v for name, v in found.items() if not self.task.scores or name in self.task.scores}

    def logits(self, part: Encoded) -> torch.Tensor:
        """(examples, outputs) in the rows' order, on the CPU."""
        found = on_device(batches(part, size=self.protocol.eval_batch_size), self.device)
        return predict(self.classifier, found, protocol=self.protocol)


def execute(spec: RunSpec, *, clock: Clock | None = None, report: Report = lambda progress: None) -> Outcome:
    """Trains and scores one method on one task.

    Args:
        spec: what is asked.
        clock: times the phases `train` and `infer`; a test passes one with a fake time.
        report: is told how far the run is.

    Raises:
        UserError: what is asked cannot be done.
        DivergedError: the loss became infinite or no number.
    """
    began, started_at = time.perf_counter(), datetime.now(timezone.utc)
    setting = prepare(spec)
    clock = clock or Clock(synchronize=synchronizer(setting.device))
    training = run_training(setting, clock=clock, report=report)
    setting.method.eject(setting.classifier.backbone)
    with clock.phase("infer"):
        logits = setting.logits(setting.test)
    record = Record(
        digest=spec.digest,
        status="ok",
        asked=spec,
        result=_result(setting, training, logits, clock),
        environment=describe(str(setting.device)),
        started_at=started_at.isoformat(timespec="seconds"),
        wall_time_s=time.perf_counter() - began,
    )
    return Outcome(record, {"logits": logits.numpy(), "labels": setting.test.labels.numpy()})


def prepare(spec: RunSpec) -> Setting:
    """Loads data and weights, and adapts the classifier.

    Raises:
        UserError: what is asked cannot be done, or its sources changed since it was asked.
    """
    protocol = spec.protocol
    device = prepare_torch(protocol)
    method, task, backbone = method_of(spec.method), resolve_task(spec.task.name).task, fetch(spec.model.name)
    if backbone.spec != spec.model:
        raise UserError(f"model {spec.model.name} is {backbone.spec.revision} now, not {spec.model.revision}")
    examples = split(load_rows(task), k=spec.k, dev=protocol.dev_rows(spec.k), seed=spec.data_seed)
    tokenizer = backbone.tokenizer()
    parts = (examples.train, examples.dev, examples.test)
    tokens = [encode(part, tokenizer, max_length=protocol.max_length) for part in parts]
    head = protocol.head or backbone.head
    fresh = load_classifier(backbone, outputs=examples.outputs, head=head, seed=spec.model_seed)
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
        classifier=adapt(fresh, method, labels=tokens[0].labels, seed=spec.model_seed).to(device),
        head=head,
        pretrained_parameters=before.backbone_parameters,
    )


def prepare_torch(protocol: Protocol) -> torch.device:
    """Fixes device, threads and determinism of this process.

    Raises:
        UserError: the device or the precision is not to be had here.
    """
    name = protocol.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA device here; use --device cpu")
    if protocol.precision == "bf16" and name != "cuda":
        raise UserError("precision bf16 needs a CUDA device; use --precision float32")
    torch.set_num_threads(protocol.threads or usable_cpus())
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only so
    # What use_deterministic_algorithms does, without the compiler that it imports for seconds.
    torch.set_deterministic_debug_mode("warn" if name == "cuda" else "error")
    # Filling fresh memory with NaN would cost time in every step, and no result depends on it.
    deterministic: Any = torch.utils.deterministic
    deterministic.fill_uninitialized_memory = False
    return torch.device(name)


def adapt(classifier: Classifier, method: Method, *, labels: torch.Tensor, seed: int) -> Classifier:
    """Freezes the backbone, lets the method adapt it, thaws the head: the same for every method.

    Args:
        classifier: fresh.
        method: inserts or thaws.
        labels: of the training rows.
        seed: of the initial values of what the method inserts.
    """
    freeze(classifier)
    torch.manual_seed(seed)
    method.adapt(classifier.backbone)
    for parameter in classifier.head_parameters().values():
        parameter.requires_grad_(True)
    return method.begin(classifier, labels)


def run_training(setting: Setting, *, clock: Clock, report: Report = lambda progress: None) -> Training:
    """Trains the setting's classifier; the best checkpoint is in it afterwards."""
    seed = setting.spec.model_seed
    order = torch.Generator().manual_seed(seed)

    def evaluate() -> Scores:
        return setting.scores(setting.dev, setting.logits(setting.dev))

    torch.manual_seed(seed)  # dropout does not depend on how much the method drew for its own initial values
    return train(
        setting.classifier,
        setting.method,
        protocol=setting.protocol,
        epoch_batches=lambda epoch: setting.train_batches(order),
        steps_per_epoch=-(-len(setting.train) // setting.protocol.batch_size),
        evaluate=evaluate if len(setting.dev) else None,
        headline=setting.headline,
        clock=clock,
        report=report,
    )


def on_device(found: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Moves batches to the device as they are asked for."""
    for batch in found:
        inputs = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.inputs.items()}
        yield Batch(inputs, batch.labels.to(device, non_blocking=True), batch.rows)


def _result(setting: Setting, training: Training, logits: torch.Tensor, clock: Clock) -> Result:
    """What came out; called after the method has dropped what training alone needed."""
    counts = count_parameters(setting.classifier, head=setting.classifier.head_parameters().values())
    best, examples = training.best, setting.examples
    return Result(
        kind=examples.kind,
        headline=setting.headline,
        test_scores=setting.scores(setting.test, logits),
        dev_scores=None if best is None else best.scores,
        curve=[Evaluation(**asdict(point)) for point in training.curve],
        best_epoch=None if best is None else best.epoch,
        steps=training.steps,
        trained_parameters=training.trained_parameters,
        stored_parameters=counts.trained_parameters,
        head_parameters=counts.trained_head_parameters,
        backbone_parameters=setting.pretrained_parameters,
        train_examples=len(examples.train),
        dev_examples=len(examples.dev),
        test_examples=len(examples.test),
        classes=examples.labels,
        train_time_s=clock.seconds("train"),
        infer_time_s=clock.seconds("infer"),
        head_kind=setting.head,
        learning_rate=setting.method.learning_rate,
        head_learning_rate=head_rate(setting.method, setting.protocol),
        data_digest=examples.digest,
    )
