"""What a training step and a forward pass hold in memory, in passes of their own at a run's largest batches."""

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
    """Live bytes at the peak of an ordinary training step on a batch of that shape, the second of two.

    The first step makes the optimizer's state. Trained values are put back, also where a step raises; a classifier that
    is to be scored or stored has no place here all the same (`Setting.untrained`).
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
    """A batch with padding in its first row, as most real ones have: then there is a mask to keep."""
    batch = token_batch(shape, device=device)
    if shape[1] > 1:
        batch["attention_mask"][0, -1] = 0
    return batch


def live_inference(setting: Setting, shape: Shape) -> LiveBytes:
    """Live bytes at the peak of a forward pass on a batch of that shape."""
    batch = padded_batch(shape, setting.device)
    forward = autocasting(setting.protocol)
    with untouched(setting.classifier), torch.inference_mode(), forward():
        setting.classifier.eval()
        with LiveTensors(setting.classifier, inputs=batch) as meter:
            setting.classifier(**batch)
    return meter.figures


def resident_peak(run: Alone) -> ResidentMemory:
    """Resident high-water mark of this process over training steps and a forward pass on a run's largest batches.

    Call it in a process of its own whose malloc was tuned first.
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
    """Ordinary training steps on a batch of that shape."""
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
