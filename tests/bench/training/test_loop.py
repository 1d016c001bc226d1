from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from bench.meters.clock import Clock
from bench.progress import Progress
from bench.records.spec import Protocol
from bench.tasks import kind_named
from bench.training.encoding import Batch
from bench.training.loop import (
    DivergedError,
    LossWatch,
    Training,
    gradient_step,
    make_optimizer,
    predict,
    snapshot,
    train,
    warm_up_then_down,
)
from methods.kit.base import Classifier, Method

REGRESSION = kind_named("regression")


class Line(Classifier):
    """logits = head(body * x): one weight each, and one frozen."""

    def __init__(self) -> None:
        backbone: Any = nn.Module()
        super().__init__(backbone, outputs=1)
        self.backbone.body = nn.Parameter(torch.tensor([1.0]))
        self.backbone.frozen = nn.Parameter(torch.ones(5), requires_grad=False)
        self.backbone.idle = nn.Parameter(torch.ones(7))  # requires a gradient and gets none
        self.head = nn.Parameter(torch.tensor([1.0]))

    def head_parameters(self) -> dict[str, nn.Parameter]:
        return {"head": self.head}

    def forward(self, **batch: Tensor) -> Tensor:
        return (batch["x"] * self.backbone.body * self.head).unsqueeze(-1)


@dataclass(frozen=True, kw_only=True)
class Plain(Method):
    name: ClassVar[str] = "plain"
    surcharge: float = 0.0

    def adapt(self, model: Any) -> None: ...

    def penalty(self, model: Any) -> Tensor | None:
        return self.surcharge * model.body.sum() if self.surcharge else None


def batches(epoch: int = 0, *, target: float = 3.0) -> Iterator[Batch]:
    for _ in range(2):
        inputs = {"input_ids": torch.zeros(4, 3, dtype=torch.long), "x": torch.ones(4)}
        yield Batch(inputs, torch.full((4,), target), torch.arange(4))


def run(
    scores: list[dict[str, float]] | None,
    *,
    method: Method | None = None,
    clock: Clock | None = None,
    **protocol: Any,
) -> tuple[Training, Line, list[float]]:
    """Trains on two batches an epoch with given dev scores; also gives the body at each evaluation."""
    classifier, seen = Line(), list[float]()
    feed = iter(scores or [])

    def evaluate() -> tuple[dict[str, float], dict[str, float]]:
        seen.append(classifier.backbone.body.item())
        return next(feed), {"0.lora": 0.25}

    result = train(
        classifier,
        method or Plain(learning_rate=0.1),
        loss_of=REGRESSION.loss,
        protocol=Protocol.model_validate({"warmup_share": 0.0, **protocol}),
        epoch_batches=batches,
        steps_per_epoch=2,
        evaluate=None if scores is None else evaluate,
        headline="accuracy",
        clock=clock or Clock(),
    )
    return result, classifier, seen


def accuracies(*values: float | None) -> list[dict[str, float]]:
    return [{} if value is None else {"accuracy": value} for value in values]


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ((0.1, 0.3, 0.2), 2),
        ((0.3, 0.3, 0.2), 1),  # the first of equals
        ((None, 0.0, None), 2),  # undefined is worse than any
        ((None, None, None), 1),
        ((-0.5, -0.2, -0.4), 2),
    ],
)
def test_the_best_checkpoint_stays(values: tuple[float | None, ...], best: int) -> None:
    result, classifier, seen = run(accuracies(*values), epochs=3)
    assert result.best is not None
    assert result.best.epoch == best
    assert classifier.backbone.body.item() == seen[best - 1]
    assert len(set(seen)) == 3
    assert [point.gates for point in result.curve] == [{"0.lora": 0.25}] * 3
    assert [point.step for point in result.curve] == [2, 4, 6]


def test_patience_counts_evaluations_without_a_better_score() -> None:
    result, _, _ = run(accuracies(0.5, 0.4, 0.5, 0.9), epochs=4, patience=2)
    assert [point.epoch for point in result.curve] == [1, 2, 3]
    assert result.steps == 6


def test_without_dev_rows_the_last_checkpoint_stays() -> None:
    result, classifier, _ = run(None, epochs=3)
    assert result.best is not None
    assert result.best.epoch == 3
    assert result.best.scores == {}
    assert classifier.backbone.body.item() != 1.0


def test_steps_stop_within_an_epoch() -> None:
    result, _, _ = run(accuracies(0.1, 0.2), epochs=None, steps=3)
    assert (result.steps, result.examples) == (3, 12)
    assert result.shapes == {(4, 3): 3}
    assert [point.step for point in result.curve] == [2, 3]


def test_trained_is_what_got_a_gradient_without_the_head() -> None:
    result, classifier, _ = run(accuracies(0.1), epochs=1)
    assert result.trained_parameters == 1
    assert torch.equal(classifier.backbone.frozen, torch.ones(5))


def test_the_clock_covers_the_steps_alone() -> None:
    """Every look at this clock costs a second: two a stretch of training, and evaluation takes a thousand."""
    time = SimpleNamespace(now=0.0)

    def now() -> float:
        time.now += 1.0
        return time.now

    classifier = Line()

    def evaluate() -> tuple[dict[str, float], dict[str, float]]:
        time.now += 1000.0
        return {"accuracy": 0.5}, {}

    clock = Clock(now=now)
    train(
        classifier,
        Plain(),
        loss_of=REGRESSION.loss,
        protocol=Protocol(epochs=3),
        epoch_batches=batches,
        steps_per_epoch=2,
        evaluate=evaluate,
        headline="accuracy",
        clock=clock,
    )
    # start, (pause, resume) three times, end: four stretches of one second each
    assert clock.seconds("train") == 4.0


def test_nothing_to_train_is_not_timed() -> None:
    classifier, clock = Line(), Clock()
    for parameter in classifier.parameters():
        parameter.requires_grad_(False)
    result = train(
        classifier,
        Plain(),
        loss_of=REGRESSION.loss,
        protocol=Protocol(),
        epoch_batches=batches,
        steps_per_epoch=2,
        evaluate=None,
        headline="accuracy",
        clock=clock,
    )
    assert (result.steps, result.best, clock.seconds("train")) == (0, None, None)


def test_a_loss_that_is_no_number_ends_the_run() -> None:
    with pytest.raises(DivergedError, match="the loss became nan at step 1, in epoch 1; lower the learning rate"):
        run(accuracies(0.1), method=Plain(surcharge=math.nan), epochs=1)


def test_a_loss_is_read_at_its_step_or_a_step_later() -> None:
    bad = torch.tensor(math.inf)
    at_once = LossWatch(lag=0)
    at_once.see(torch.tensor(1.0), step=1, epoch=1)
    with pytest.raises(DivergedError, match="became inf at step 2, in epoch 1"):
        at_once.see(bad, step=2, epoch=1)
    later = LossWatch(lag=1)
    later.see(bad, step=1, epoch=1)
    with pytest.raises(DivergedError, match="became inf at step 1, in epoch 1"):
        later.see(torch.tensor(1.0), step=2, epoch=2)
    last = LossWatch(lag=1)
    last.see(bad, step=1, epoch=1)
    with pytest.raises(DivergedError, match="at step 1"):
        last.finish()


def test_no_step_is_taken_after_a_loss_that_is_no_number() -> None:
    classifier, steps = Line(), 0

    def many() -> Iterator[Batch]:
        nonlocal steps
        for number in range(10):
            steps += 1
            yield next(batches(target=math.nan if number == 3 else 3.0))

    with pytest.raises(DivergedError, match="the loss became nan at step 4, in epoch 1"):
        train(
            classifier,
            Plain(),
            loss_of=REGRESSION.loss,
            protocol=Protocol(epochs=1),
            epoch_batches=lambda epoch: many(),
            steps_per_epoch=10,
            evaluate=None,
            headline="accuracy",
            clock=Clock(),
        )
    assert steps == 4


@pytest.mark.parametrize("bad", [math.nan, -math.inf, math.inf])
@pytest.mark.parametrize("first", [True, False])
def test_a_score_that_is_no_number_is_the_worst(bad: float, first: bool) -> None:
    scores = accuracies(bad, 0.2, 0.1) if first else accuracies(0.2, bad, 0.1)
    result, classifier, seen = run(scores, epochs=3)
    assert result.best is not None
    assert result.best.scores == {"accuracy": 0.2}
    assert classifier.backbone.body.item() == seen[1 if first else 0]


class Normed(Line):
    """With a batch normalisation before the head, a buffer that is replaced and one that no checkpoint holds."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone.norm = nn.BatchNorm1d(1)
        self.backbone.register_buffer("calls", torch.zeros(()))
        self.backbone.register_buffer("scratch", torch.zeros(()), persistent=False)

    def forward(self, **batch: Tensor) -> Tensor:
        if self.training:
            self.backbone.calls = self.backbone.calls + 1
            self.backbone.scratch += 1
        spread = batch["x"] * torch.arange(1.0, 1 + len(batch["x"]))
        return self.backbone.norm((spread * self.backbone.body * self.head).unsqueeze(-1))


def test_buffers_belong_to_the_checkpoint() -> None:
    """The running means are those of the best checkpoint, not of the last step."""
    classifier, seen = Normed(), list[dict[str, Tensor]]()
    feed = iter(accuracies(0.1, 0.9, 0.2))

    def evaluate() -> tuple[dict[str, float], dict[str, float]]:
        seen.append({name: tensor.clone() for name, tensor in classifier.state_dict().items()})
        return next(feed), {}

    train(
        classifier,
        Plain(learning_rate=0.1),
        loss_of=REGRESSION.loss,
        protocol=Protocol(epochs=3),
        epoch_batches=batches,
        steps_per_epoch=2,
        evaluate=evaluate,
        headline="accuracy",
        clock=Clock(),
    )
    state = classifier.state_dict()
    assert not torch.equal(seen[1]["backbone.norm.running_mean"], seen[2]["backbone.norm.running_mean"])
    assert state["backbone.norm.num_batches_tracked"] == state["backbone.calls"] == 4
    assert classifier.backbone.scratch == 6
    for name, tensor in state.items():
        assert torch.equal(tensor, seen[1][name]), name


def test_a_checkpoint_lies_in_the_memory_of_the_host() -> None:
    """On a GPU it would be a copy of all that trains, within the peak of the training steps."""
    (copy,) = snapshot({"a": torch.ones(2, device="cpu")}).values()
    assert copy.device.type == "cpu"
    with pytest.raises(NotImplementedError, match="meta"):  # it really goes for the values
        snapshot({"a": torch.ones(2, device="meta")})


def test_the_penalty_joins_the_loss() -> None:
    bare, _, _ = run(accuracies(0.1), epochs=None, steps=1)
    more, _, _ = run(accuracies(0.1), method=Plain(learning_rate=0.1, surcharge=5.0), epochs=None, steps=1)
    assert more.curve[0].train_loss == pytest.approx(bare.curve[0].train_loss + 5.0)


def test_the_gradient_is_clipped_to_the_norm() -> None:
    norms = []

    classifier = Line()
    original = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, closure: Any = None) -> Any:
        grads = [p.grad for p in classifier.parameters() if p.grad is not None]
        norms.append(torch.cat(grads).norm().item())
        return original(self, closure)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", step)
        train(
            classifier,
            Plain(),
            loss_of=REGRESSION.loss,
            protocol=Protocol(epochs=None, steps=1, max_gradient_norm=0.5, warmup_share=0.0),
            epoch_batches=batches,
            steps_per_epoch=2,
            evaluate=None,
            headline="accuracy",
            clock=Clock(),
        )
    assert norms == [pytest.approx(0.5, rel=1e-4)]


def test_a_gradient_step_leaves_its_clipped_gradients() -> None:
    classifier = Line()
    batch = next(iter(batches(0)))
    protocol = Protocol(epochs=1, max_gradient_norm=0.25)
    optimizer = make_optimizer(classifier, Plain(), protocol)
    before = snapshot(dict(classifier.named_parameters()))
    loss = gradient_step(classifier, Plain(), optimizer, batch.inputs, batch.labels, protocol, loss_of=REGRESSION.loss)
    assert not loss.requires_grad
    gradients = [parameter.grad for parameter in classifier.parameters() if parameter.grad is not None]
    assert torch.cat(gradients).norm().item() == pytest.approx(0.25, rel=1e-4)
    assert any((before[name] != parameter).any() for name, parameter in classifier.named_parameters())


@pytest.mark.parametrize(("own", "protocol", "rate"), [(None, 5e-3, 5e-3), (1e-2, 5e-3, 1e-2), (None, None, 1e-4)])
def test_the_head_learns_at_its_own_rate(own: float | None, protocol: float | None, rate: float) -> None:
    method = Plain(learning_rate=1e-4, head_learning_rate=own)
    optimizer = make_optimizer(Line(), method, Protocol(head_learning_rate=protocol))
    body, head = optimizer.param_groups
    assert (body["lr"], head["lr"]) == (1e-4, rate)
    assert [len(group["params"]) for group in (body, head)] == [2, 1]
    assert {group["weight_decay"] for group in (body, head)} == {0.0}


def test_the_schedule_by_hand() -> None:
    factor = warm_up_then_down(10, 0.2)
    assert [factor(step) for step in (0, 1, 2, 6, 10)] == [0.0, 0.5, 1.0, 0.5, 0.0]
    assert warm_up_then_down(4, 0.0)(0) == 1.0


def test_predictions_come_back_in_the_rows_order() -> None:
    found = [
        Batch({"x": torch.tensor([30.0, 10.0])}, torch.zeros(2), torch.tensor([2, 0])),
        Batch({"x": torch.tensor([20.0])}, torch.zeros(1), torch.tensor([1])),
    ]
    classifier = Line().train()
    assert predict(classifier, found, protocol=Protocol()).flatten().tolist() == [10.0, 20.0, 30.0]
    assert not classifier.training


def test_progress_is_told() -> None:
    told: list[Progress] = []
    train(
        Line(),
        Plain(),
        loss_of=REGRESSION.loss,
        protocol=Protocol(epochs=1),
        epoch_batches=batches,
        steps_per_epoch=2,
        evaluate=lambda: ({"accuracy": 0.25}, {}),
        headline="accuracy",
        clock=Clock(),
        report=told.append,
    )
    assert told == [
        Progress("train", 1, 2, None),
        Progress("train", 2, 2, None),
        Progress("dev", 2, 2, 0.25),
    ]
