"""The training loop. The clock runs during training steps only; evaluations pause it.

A run fails at the first step whose loss is infinite or not a number, even if it has a good checkpoint by then: with
these hyper-parameters, training is not stable. An evaluation without a finite score does not fail the run. It counts as
the worst one, and the best checkpoint of the other evaluations is scored.
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
from bench.progress import Progress, ReportProgress
from bench.records.spec import Protocol
from bench.training.encoding import Batch

if TYPE_CHECKING:
    from methods.kit.base import Classifier, Method


ScoreByName = dict[str, float]
"""Name of a score -> its value."""
LossOf = Callable[[Tensor, Tensor], Tensor]
"""A function from logits, (batch, outputs), and labels, (batch,), to the loss, a scalar, such as `Kind.loss`."""


class DivergedError(Exception):
    """The loss, or an output of the chosen checkpoint for a test row, is not finite."""


@dataclass(frozen=True)
class Point:
    """One evaluation on the dev rows.

    Attributes:
        epoch: the number of the epoch that has just ended, from 1.
        step: the number of optimizer steps so far.
        train_loss: the mean training loss of this epoch.
        scores: the scores on the dev rows, without those that are undefined.
        gates: `layer.part` -> mean gate on the dev rows, for methods with gates.
    """

    epoch: int
    step: int
    train_loss: float
    scores: ScoreByName
    gates: dict[str, float] = field(default_factory=dict)


@dataclass
class Training:
    """The result of training. The weights of the best checkpoint are in the classifier.

    Attributes:
        curve: the evaluations, in order.
        best: the evaluation of the best checkpoint; None if nothing was trained.
        steps: the number of optimizer steps.
        examples: the number of examples in all steps together.
        shapes: (rows, padded length) -> the number of batches with this shape.
        visits: index of a training row -> how often it was trained on.
        trained_parameters: the number of parameters outside the head that got a gradient in the first step.
    """

    curve: list[Point] = field(default_factory=list)
    best: Point | None = None
    steps: int = 0
    examples: int = 0
    shapes: Counter[tuple[int, int]] = field(default_factory=Counter)
    visits: Counter[int] = field(default_factory=Counter)
    trained_parameters: int = 0


def train(
    classifier: Classifier,
    method: Method,
    *,
    loss_of: LossOf,
    protocol: Protocol,
    epoch_batches: Callable[[int], Iterable[Batch]],
    steps_per_epoch: int,
    evaluate: Callable[[], tuple[ScoreByName, dict[str, float]]] | None,
    headline: str,
    clock: Clock | Phases,
    report: ReportProgress = lambda progress: None,
) -> Training:
    """Trains the parameters that require a gradient, and restores the checkpoint with the highest dev score at the end.

    A checkpoint holds these parameters and the persistent buffers, such as the running means of a batch normalization.

    Args:
        classifier: the adapted classifier on its device.
        method: gives the learning rates, and a penalty that is added to the loss.
        loss_of: the loss of the task's kind.
        protocol: gives the number of steps, the schedule and the patience.
        epoch_batches: a function from the number of an epoch, from 0, to its batches, on the classifier's device.
        steps_per_epoch: the number of batches in an epoch.
        evaluate: a function that returns the scores on the dev rows and the mean gates there; None if there are no dev
            rows, and then the last checkpoint stays.
        headline: the score that chooses the checkpoint; if it is undefined or not finite, it counts as the lowest.
        clock: its phase `train` runs during the steps only.
        report: is called after each step and evaluation.

    Raises:
        DivergedError: the loss became infinite or not a number.
    """
    result = Training()
    trainable = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    if not trainable:
        return result
    total = protocol.steps or (protocol.epochs or 0) * steps_per_epoch
    optimizer = make_optimizer(classifier, method, protocol)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_up_then_down(total, protocol.warmup_share))
    highest, waited = -math.inf, 0  # the best dev score, and the evaluations since then
    # Without dev rows the last checkpoint is kept, and no copy is needed.
    checkpoint = {} if evaluate is None else snapshot(checkpointed(classifier))
    watch = LossWatch(lag=0 if trainable[0].device.type == "cpu" else 1)

    with clock.phase("train"):
        for epoch in range(math.ceil(total / steps_per_epoch)):
            classifier.train()  # each epoch, because evaluating switches it off
            losses: list[Tensor] = []
            rows_seen: list[Tensor] = []
            for batch in epoch_batches(epoch):
                losses.append(  # as a tensor: reading its value would wait for a GPU
                    gradient_step(classifier, method, optimizer, batch.inputs, batch.labels, protocol, loss_of=loss_of)
                )
                if result.steps == 0:  # now, while the gradients are there
                    result.trained_parameters = count_trained(classifier)
                watch.see(losses[-1], step=result.steps + 1, epoch=epoch + 1)
                schedule.step()
                optimizer.zero_grad()  # sets gradients to None, so their memory is free during evaluation
                result.steps += 1
                result.examples += len(batch.labels)
                rows, length = batch.inputs["input_ids"].shape
                result.shapes[rows, length] += 1
                rows_seen.append(batch.rows)
                report(Progress("train", result.steps, total, None if highest == -math.inf else highest))
                if result.steps == total:  # a protocol that counts steps may end within an epoch
                    break

            with clock.paused():
                watch.finish()
                result.visits.update(torch.cat(rows_seen).tolist())
                mean_loss = torch.stack(losses).mean().item()
                if not math.isfinite(mean_loss):  # each loss is finite, but their sum overflows
                    raise DivergedError(f"the loss became {mean_loss} in epoch {epoch + 1}; lower the learning rate")
                if not looks_after(epoch + 1, math.ceil(total / steps_per_epoch), protocol.evaluations):
                    continue
                scores, gates = ({}, {}) if evaluate is None else evaluate()
                point = Point(epoch + 1, result.steps, mean_loss, scores, gates)
                result.curve.append(point)
                score = scores.get(headline, -math.inf)
                score = score if math.isfinite(score) else -math.inf  # nan would compare as false with everything
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
    """Checks the loss of every step, and raises an error at the first one that is not finite.

    Reading a loss from a GPU waits for all work that is queued there, and afterwards the GPU idles until the next step
    is queued. So the loss is copied to the host in the background and read `lag` steps later, when the copy is ready.

    Args:
        lag: the number of steps after which a loss is read; 0 where reading costs nothing.
    """

    def __init__(self, *, lag: int) -> None:
        self._lag = lag
        self._waiting: deque[tuple[Tensor, torch.cuda.Event | None, int, int]] = deque()

    def see(self, loss: Tensor, *, step: int, epoch: int) -> None:
        """Takes the loss of a step, and checks the loss of `lag` steps before.

        Raises:
            DivergedError: the checked loss is infinite or not a number.
        """
        event = None
        if loss.is_cuda:  # only pinned memory can be copied to in the background
            host = torch.empty(loss.shape, dtype=loss.dtype, pin_memory=True)
            loss = host.copy_(loss, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
        self._waiting.append((loss, event, step, epoch))
        self._read(self._lag)

    def finish(self) -> None:
        """Checks the losses that have not been checked.

        Raises:
            DivergedError: a loss is infinite or not a number.
        """
        self._read(0)

    def _read(self, left: int) -> None:
        """Checks losses, the oldest first, until only `left` are waiting."""
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
    """Tells whether the dev rows are scored after an epoch. The evaluations are spread evenly; the last epoch has one.

    Args:
        epoch: the number of the epoch, from 1.
        epochs: how many epochs there are.
        evaluations: how many evaluations there are; None: one after each epoch.

    >>> [epoch for epoch in range(1, 11) if looks_after(epoch, 10, 3)]
    [4, 7, 10]
    """
    looks = epochs if evaluations is None else min(evaluations, epochs)
    # epoch * looks // epochs evaluations are due by the end of this epoch: is that one more than an epoch before?
    return epoch * looks // epochs > (epoch - 1) * looks // epochs


def make_optimizer(classifier: Classifier, method: Method, protocol: Protocol) -> torch.optim.Optimizer:
    """Makes the optimizer: AdamW, fused into one kernel, with one learning rate for the head and one for the rest."""
    head = classifier.head_parameters()
    head_ids = {id(parameter) for parameter in head.values()}
    body = [p for p in classifier.parameters() if p.requires_grad and id(p) not in head_ids]
    groups = [
        {"params": body, "lr": method.learning_rate},
        {"params": [p for p in head.values() if p.requires_grad], "lr": head_rate(method, protocol)},
    ]
    return torch.optim.AdamW(  # fused: one kernel for all parameters, on the CPU too
        [group for group in groups if group["params"]], weight_decay=protocol.weight_decay, fused=True
    )


def head_rate(method: Method, protocol: Protocol) -> float:
    """Returns the learning rate of the head: that of the method, else of the protocol, else of the other parameters."""
    return method.head_learning_rate or protocol.head_learning_rate or method.learning_rate


def warm_up_then_down(total: int, warmup_share: float) -> Callable[[int], float]:
    """Returns the linear schedule: a factor that rises from 0 to 1 in the warm-up and falls to 0 at `total` steps.

    >>> factor = warm_up_then_down(10, warmup_share=0.2)
    >>> [factor(step) for step in (0, 1, 2, 6, 10)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    warmup = math.ceil(total * warmup_share)

    def factor(step: int) -> float:
        if step < warmup:
            return step / warmup
        return max(0.0, (total - step) / max(1, total - warmup))

    return factor


def autocasting(protocol: Protocol) -> Callable[[], AbstractContextManager[object]]:
    """Returns a function that opens a context: autocast to bfloat16 on CUDA if the protocol says so, else nothing."""
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
    """Takes one training step. The loop uses this, and so do the measurements of time and memory.

    Args:
        classifier: the classifier in training mode.
        method: gives a penalty that is added to the loss; None: no penalty.
        optimizer: the optimizer of all trained parameters. The gradients are not reset.
        inputs: the inputs of the classifier.
        labels: (batch,).
        protocol: gives the precision, and the norm that the gradient is clipped to.
        loss_of: the loss of the task's kind.

    Returns:
        The loss, a detached scalar.
    """
    loss = backward_pass(classifier, method, inputs, labels, protocol, loss_of=loss_of)
    if protocol.max_gradient_norm is not None:  # one norm over all parameters, head included
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
    """Computes the loss and its gradients: a training step without the step of the optimizer.

    Args:
        classifier: the classifier in training mode.
        method: gives a penalty that is added to the loss; None: no penalty.
        inputs: the inputs of the classifier.
        labels: (batch,).
        protocol: gives the precision.
        loss_of: the loss of the task's kind.

    Returns:
        The loss, a detached scalar.
    """
    with autocasting(protocol)():
        loss = loss_of(classifier(**inputs), labels)
        penalty = None if method is None else method.penalty(classifier.backbone)
        loss = loss if penalty is None else loss + penalty
    loss.backward()  # outside of autocast, as torch asks for
    return loss.detach()


def count_trained(classifier: Classifier) -> int:
    """Counts the parameters outside the head that have a gradient. Call it before the gradients are reset."""
    head_ids = {id(parameter) for parameter in classifier.head_parameters().values()}
    return sum(p.numel() for p in classifier.parameters() if p.grad is not None and id(p) not in head_ids)


def checkpointed(classifier: nn.Module) -> dict[str, Tensor]:
    """Returns name -> tensor for all that training changes: parameters that require a gradient, persistent buffers.

    The tensors share their memory with the classifier. Call this again each time: a module may replace a buffer.
    """
    tensors: dict[str, Tensor] = {name: p.detach() for name, p in classifier.named_parameters() if p.requires_grad}
    for place, module in classifier.named_modules():
        for name, buffer in module._buffers.items():
            if buffer is not None and name not in module._non_persistent_buffers_set:
                tensors[f"{place}.{name}" if place else name] = buffer
    return tensors


def snapshot(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies tensors to the memory of the host. On a GPU the copies would count as memory that training needs."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


@torch.no_grad()
def overwrite(target: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> None:
    """Copies values in place, so that there is never more than one copy of a checkpoint."""
    for name, tensor in target.items():
        tensor.copy_(source[name])


@torch.inference_mode()
def predict(classifier: Classifier, batches: Iterable[Batch], *, protocol: Protocol) -> Tensor:
    """Computes logits in evaluation mode.

    Returns:
        (examples, outputs), float32, on the CPU, in the order of the examples and not of the batches.
    """
    classifier.eval()
    autocast = autocasting(protocol)
    logits, rows = [], []
    for batch in batches:
        with autocast():
            logits.append(classifier(**batch.inputs))
        rows.append(batch.rows)
    in_batches = torch.cat(logits).float().cpu()
    ordered = torch.empty_like(in_batches)
    ordered[torch.cat(rows)] = in_batches
    return ordered
