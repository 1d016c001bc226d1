"""Measures the memory of a training step and of a forward pass, in separate passes on the largest batches of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bench.meters.instruments.live_tensors import LiveBytes, LiveTensors
from bench.meters.instruments.run_flops import Shape, token_batch
from bench.meters.instruments.stand_ins import untouched
from bench.meters.resident import ResidentMemory, ResidentPeak
from bench.training.loop import autocasting, checkpointed, gradient_step, make_optimizer, overwrite, snapshot
from bench.training.prepared import Setting

if TYPE_CHECKING:
    from bench.meters.meter import Alone


def live_training(setting: Setting, shape: Shape) -> LiveBytes:
    """Measures the peak of live tensor bytes in an ordinary training step, the second of two.

    The first step makes the state of the optimizer. The trained values are put back afterwards, also where a step
    raises; yet pass no classifier that is still to be scored or stored, but one of `Setting.untrained`.

    Args:
        setting: its classifier takes the steps.
        shape: (rows, tokens) of the made-up batch.
    """
    classifier = setting.classifier
    before = snapshot(checkpointed(classifier))
    optimizer = make_optimizer(classifier, setting.method, setting.protocol)
    batch = padded_batch(shape, setting.device)
    labels = setting.kind.made_up(shape, setting.device)
    try:
        with untouched(classifier):
            classifier.train()
            _step(setting, optimizer, batch, labels)
            with LiveTensors(classifier, optimizer=optimizer, inputs=[batch, labels]) as meter:
                _step(setting, optimizer, batch, labels)
    finally:
        overwrite(checkpointed(classifier), before)
    return meter.figures


def padded_batch(shape: Shape, device: torch.device) -> dict[str, Tensor]:
    """A made-up batch, (rows, tokens), with padding in its first row, so that an attention mask is needed and kept."""
    batch = token_batch(shape, device=device)
    if shape[1] > 1:
        batch["attention_mask"][0, -1] = 0
    return batch


def live_inference(setting: Setting, shape: Shape) -> LiveBytes:
    """Measures the peak of live tensor bytes in a forward pass on a made-up batch, (rows, tokens)."""
    batch = padded_batch(shape, setting.device)
    forward = autocasting(setting.protocol)
    with untouched(setting.classifier), torch.inference_mode(), forward():
        setting.classifier.eval()
        with LiveTensors(setting.classifier, inputs=batch) as meter:
            setting.classifier(**batch)
    return meter.figures


def resident_peak(run: Alone) -> ResidentMemory:
    """Measures the highest resident memory of this process over training steps and a forward pass.

    The batches have the shapes of the largest ones of the run. Call it in a new process whose malloc was tuned first.
    """
    setting = run.prepare()
    with ResidentPeak() as meter:
        if any(p.requires_grad for p in setting.classifier.parameters()):
            _training_steps(setting, run.train_shape, steps=3)
        setting.method.eject(setting.classifier.backbone)
        setting.classifier.eval()
        with torch.inference_mode(), autocasting(setting.protocol)():
            setting.classifier(**padded_batch(run.test_shape, setting.device))
    return meter.figures


def _training_steps(setting: Setting, shape: Shape, *, steps: int) -> None:
    """Takes ordinary training steps on a made-up batch of this shape, (rows, tokens)."""
    optimizer = make_optimizer(setting.classifier, setting.method, setting.protocol)
    batch = padded_batch(shape, setting.device)
    labels = setting.kind.made_up(shape, setting.device)
    setting.classifier.train()
    for _ in range(steps):
        _step(setting, optimizer, batch, labels)


def _step(setting: Setting, optimizer: torch.optim.Optimizer, batch: dict[str, Tensor], labels: Tensor) -> None:
    gradient_step(
        setting.classifier, setting.method, optimizer, batch, labels, setting.protocol, loss_of=setting.kind.loss
    )
    optimizer.zero_grad()
