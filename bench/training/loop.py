"""The training loop, to be read from top to bottom. The clock covers training steps and nothing else.

A run whose loss becomes infinite or no number fails, at that step, whatever checkpoint it had: the setting does not
train stably. A look at the dev rows that gives logits without a finite score does not fail it: that look counts as the
worst, and the best checkpoint before or after it is the one that is scored.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from bench.meters.clock import Clock
from bench.meters.phases import Phases
from bench.progress import Progress, Report
from bench.records.spec import Protocol
from bench.training.encoding import Batch

if TYPE_CHECKING:
    from methods.kit.base import Classifier, Method


Scores = dict[str, float]
LossOf = Callable[[Tensor, Tensor], Tensor]
"""Logits (batch, outputs) and labels (batch,) -> the loss, a scalar: `Kind.loss`."""


class DivergedError(Exception):
    """The loss, or what the chosen checkpoint gives for the test rows, is not finite."""


@dataclass(frozen=True)
class Point:
    """One evaluation on the dev rows.

    Attributes:
        epoch: passes over the training rows so far, from 1.
        step: optimizer steps so far.
        train_loss: mean over the steps since the last evaluation.
        scores: on the dev rows; an undefined one is absent.
        gates: `layer.part` -> mean gate on the dev rows, for methods with gates.
    """

    epoch: int
    step: int
    train_loss: float
    scores: Scores
    gates: dict[str, float] = field(default_factory=dict)


@dataclass
class Training:
    """What came out of training; the best checkpoint is in the classifier."""

    curve: list[Point] = field(default_factory=list)
    best: Point | None = None
    steps: int = 0
    examples: int = 0
    shapes: Counter[tuple[int, int]] = field(default_factory=Counter)
    """How many batches there were of each (rows, padded length)."""
    visits: Counter[int] = field(default_factory=Counter)
    """Index of a training row -> how often it was trained on."""
    trained_parameters: int = 0
    """Without the head; require a gradient and got one."""


def train(
    classifier: Classifier,
    method: Method,
    *,
    loss_of: LossOf,
    protocol: Protocol,
    epoch_batches: Callable[[int], Iterable[Batch]],
    steps_per_epoch: int,
    evaluate: Callable[[], tuple[Scores, dict[str, float]]] | None,
    headline: str,
    clock: Clock | Phases,
    report: Report = lambda progress: None,
) -> Training:
    """Trains what requires a gradient, and leaves the checkpoint with the highest dev score in place.

    A checkpoint holds what trains and the persistent buffers, such as the running means of a batch normalisation.

    Args:
        classifier: adapted, on its device.
        method: its learning rates, and its penalty on the loss.
        loss_of: the loss of the task's kind.
        protocol: steps, schedule, patience.
        epoch_batches: the batches of an epoch, counted from 0, on the classifier's device.
        steps_per_epoch: how many batches that are.
        evaluate: scores on the dev rows, and mean gates there; None where there are none, and then the last
            checkpoint stays.
        headline: the score that chooses the checkpoint; where it is undefined or not finite it counts as the worst.
        clock: its phase `train` runs during the steps alone.
        report: is told how far it is.

    Raises:
        DivergedError: the loss became infinite or no number.
    """
    result = Training()
    trainable = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    if not trainable:
        return result
    total = protocol.steps or (protocol.epochs or 0) * steps_per_epoch
    optimizer = make_optimizer(classifier, method, protocol)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_up_then_down(total, protocol.warmup_share))
    highest, waited = -math.inf, 0
    # Without dev rows the last checkpoint is the one, and no copy is needed.
    checkpoint = {} if evaluate is None else snapshot(checkpointed(classifier))
    watch = LossWatch(lag=0 if trainable[0].device.type == "cpu" else 1)

    with clock.phase("train"):
        for epoch in range(math.ceil(total / steps_per_epoch)):
            classifier.train()
            losses: list[Tensor] = []
            rows_seen: list[Tensor] = []
            for batch in epoch_batches(epoch):
                losses.append(
                    gradient_step(classifier, method, optimizer, batch.inputs, batch.labels, protocol, loss_of=loss_of)
                )
                if result.steps == 0:
                    result.trained_parameters = count_trained(classifier)
                watch.see(losses[-1], step=result.steps + 1, epoch=epoch + 1)
                schedule.step()
                optimizer.zero_grad()
                result.steps += 1
                result.examples += len(batch.labels)
                rows, length = batch.inputs["input_ids"].shape
                result.shapes[rows, length] += 1
                rows_seen.append(batch.rows)
                report(Progress("train", result.steps, total, None if highest == -math.inf else highest))
                if result.steps == total:
                    break

            with clock.paused():
                watch.finish()
                result.visits.update(torch.cat(rows_seen).tolist())
                mean_loss = torch.stack(losses).mean().item()
                if not math.isfinite(mean_loss):  # finite losses whose sum is not
                    raise DivergedError(f"the loss became {mean_loss} in epoch {epoch + 1}; lower the learning rate")
                if not looks_after(epoch + 1, math.ceil(total / steps_per_epoch), protocol.evaluations):
                    continue
                scores, gates = ({}, {}) if evaluate is None else evaluate()
                point = Point(epoch + 1, result.steps, mean_loss, scores, gates)
                result.curve.append(point)
                score = scores.get(headline, -math.inf)
                score = score if math.isfinite(score) else -math.inf
                if result.best is None or score > highest or evaluate is None:
                    result.best, highest, waited = point, score, 0
                    if checkpoint:
                        overwrite(checkpoint, checkpointed(classifier))
                else:
                    waited += 1
                report(Progress("dev", result.steps, total, None if highest == -math.inf else highest))
                if protocol.patience is not None and waited >= protocol.patience:
                    break

    if checkpoint:
        overwrite(checkpointed(classifier), checkpoint)
    return result


class LossWatch:
    """Looks at the loss of every step, and raises at the first that is not finite.

    To read a loss from a GPU is to wait for all the work queued there, and then the GPU waits for the next step. So
    the loss is copied in the background and read `lag` steps later, when that copy has long been made.

    Args:
        lag: how many steps later a loss is read; 0 where reading costs nothing.
    """

    def __init__(self, *, lag: int) -> None:
        self._lag = lag
        self._waiting: deque[tuple[Tensor, torch.cuda.Event | None, int, int]] = deque()

    def see(self, loss: Tensor, *, step: int, epoch: int) -> None:
        """Notes the loss of a step, and reads that of `lag` steps before.

        Raises:
            DivergedError: it is infinite or no number.
        """
        event = None
        if loss.is_cuda:
            host = torch.empty(loss.shape, dtype=loss.dtype, pin_memory=True)
            loss = host.copy_(loss, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
        self._waiting.append((loss, event, step, epoch))
        self._read(self._lag)

    def finish(self) -> None:
        """Reads what has not been read.

        Raises:
            DivergedError: a loss is infinite or no number.
        """
        self._read(0)

    def _read(self, left: int) -> None:
        """Reads the losses, oldest first, until so many are left."""
        while len(self._waiting) > left:
            loss, event, step, epoch = self._waiting.popleft()
            if event is not None:
                event.synchronize()
            value = loss.item()
            if not math.isfinite(value):
                raise DivergedError(
                    f"the loss became {value} at step {step}, in epoch {epoch}; lower the learning rate"
                )


def looks_after(epoch: int, epochs: int, evaluations: int | None) -> bool:
    """Whether the dev rows are looked at after this epoch, counted from 1; after the last one always."""
    looks = epochs if evaluations is None else min(evaluations, epochs)
    return epoch * looks // epochs > (epoch - 1) * looks // epochs


def make_optimizer(classifier: Classifier, method: Method, protocol: Protocol) -> torch.optim.Optimizer:
    """AdamW in one fused step, the head with its own learning rate: the method's, else the protocol's."""
    head = classifier.head_parameters()
    of_head = {id(parameter) for parameter in head.values()}
    body = [p for p in classifier.parameters() if p.requires_grad and id(p) not in of_head]
    groups = [
        {"params": body, "lr": method.learning_rate},
        {"params": [p for p in head.values() if p.requires_grad], "lr": head_rate(method, protocol)},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], weight_decay=protocol.weight_decay, fused=True
    )


def head_rate(method: Method, protocol: Protocol) -> float:
    """The head's learning rate: the method's own, else the protocol's, else the body's."""
    return method.head_learning_rate or protocol.head_learning_rate or method.learning_rate


def warm_up_then_down(total: int, warmup_share: float) -> Callable[[int], float]:
    """The linear schedule: a factor that rises from 0 to 1 in the warm-up and falls to 0 at `total` steps."""
    warmup = math.ceil(total * warmup_share)

    def factor(step: int) -> float:
        if step < warmup:
            return step / warmup
        return max(0.0, (total - step) / max(1, total - warmup))

    return factor


def autocasting(protocol: Protocol) -> Callable[[], AbstractContextManager[object]]:
    """bf16 on CUDA if the protocol says so."""
    if protocol.precision == "bf16":
        return lambda: torch.autocast("cuda", torch.bfloat16)
    return nullcontext


def gradient_step(
    classifier: Classifier,
    method: Method | None,
    optimizer: torch.optim.Optimizer,
    inputs: Mapping[str, Tensor],
    labels: Tensor,
    protocol: Protocol,
    *,
    loss_of: LossOf,
) -> Tensor:
    """One step of training as the protocol has it; the loop takes it, and what measures time or memory does.

    Args:
        classifier: in training mode.
        method: its penalty on the loss; None for none.
        optimizer: of all that trains; its gradients are left in place.
        inputs: of the classifier.
        labels: (batch,).
        protocol: precision, and the norm that the gradient is clipped to.
        loss_of: the loss of the task's kind.

    Returns:
        The loss, a detached scalar.
    """
    loss = backward_pass(classifier, method, inputs, labels, protocol, loss_of=loss_of)
    if protocol.max_gradient_norm is not None:
        trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        nn.utils.clip_grad_norm_(trained, protocol.max_gradient_norm)
    optimizer.step()
    return loss


def backward_pass(
    classifier: Classifier,
    method: Method | None,
    inputs: Mapping[str, Tensor],
    labels: Tensor,
    protocol: Protocol,
    *,
    loss_of: LossOf,
) -> Tensor:
    """A training step without the optimizer's: the loss, penalty included, and its gradients.

    Args:
        classifier: in training mode.
        method: its penalty on the loss; None for none.
        inputs: of the classifier.
        labels: (batch,).
        protocol: precision.
        loss_of: the loss of the task's kind.

    Returns:
        The loss, a detached scalar.
    """
    with autocasting(protocol)():
        loss = loss_of(classifier(**inputs), labels)
        penalty = None if method is None else method.penalty(classifier.backbone)
        loss = loss if penalty is None else loss + penalty
    loss.backward()
    return loss.detach()


def count_trained(classifier: Classifier) -> int:
    """While the gradients are there: parameters that got a gradient, without the head's."""
    of_head = {id(parameter) for parameter in classifier.head_parameters().values()}
    return sum(p.numel() for p in classifier.parameters() if p.grad is not None and id(p) not in of_head)


def checkpointed(classifier: nn.Module) -> dict[str, Tensor]:
    """What training changes, by name: parameters that require a gradient, and persistent buffers.

    The tensors are the classifier's own. Ask anew each time: a module may put another tensor in a buffer's place.
    """
    found: dict[str, Tensor] = {name: p.detach() for name, p in classifier.named_parameters() if p.requires_grad}
    for place, module in classifier.named_modules():
        for name, buffer in module._buffers.items():
            if buffer is not None and name not in module._non_persistent_buffers_set:
                found[f"{place}.{name}" if place else name] = buffer
    return found


def snapshot(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies in the memory of the host: on a GPU they would count as memory that training needs."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


@torch.no_grad()
def overwrite(target: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> None:
    """Copies values in place: never two checkpoints at a time."""
    for name, tensor in target.items():
        tensor.copy_(source[name])


@torch.inference_mode()
def predict(classifier: Classifier, batches: Iterable[Batch], *, protocol: Protocol) -> Tensor:
    """Logits in evaluation mode, put back into the rows' own order.

    Returns:
        (examples, outputs), float32, on the CPU.
    """
    classifier.eval()
    autocast = autocasting(protocol)
    logits, rows = [], []
    for batch in batches:
        with autocast():
            logits.append(classifier(**batch.inputs))
        rows.append(batch.rows)
    found = torch.cat(logits).float().cpu()
    ordered = torch.empty_like(found)
    ordered[torch.cat(rows)] = found
    return ordered
