"""Takes a step before the clock starts: the first step of a process is slow, as it loads kernels and reserves memory.

The warm-up uses a new classifier and a new method, which are thrown away, so that it changes nothing that the run's
method keeps in its modules or in itself. The states of the random generators are restored. Values that a method keeps
in its class or in a Python module cannot be restored: a counter there counts the warm-up too.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from bench.training.encoding import batches
from bench.training.loop import autocasting, backward_pass
from bench.training.prepared import Setting, on_device


def warm_up_training(setting: Setting) -> None:
    """Runs a forward and a backward pass on the longest training rows, and the optimizer's kernel on one weight.

    During the passes, a block of memory is held for each trainable weight. Together with the weights of the classifier
    that is thrown away, these blocks are as large as the optimizer's state (AdamW has two moments), so that the memory
    of a real step has been reserved once. On the CPU nothing is written to the blocks, so they take no memory.
    """
    if any(parameter.requires_grad for parameter in setting.classifier.parameters()):
        _throw_away(setting, _train_once)


def warm_up_inference(setting: Setting) -> None:
    """Runs a forward pass on the longest test rows, after `method.eject`."""
    _throw_away(setting, _infer_once)


def _train_once(fresh: Setting) -> None:
    lone = nn.Parameter(torch.zeros(1, device=fresh.device))
    lone.grad = torch.zeros_like(lone)
    torch.optim.AdamW([lone], fused=True).step()
    batch = next(on_device(batches(fresh.train, size=fresh.protocol.batch_size), fresh.device))
    blocks = [torch.empty_like(p) for p in fresh.classifier.parameters() if p.requires_grad]
    fresh.classifier.train()
    backward_pass(fresh.classifier, fresh.method, batch.inputs, batch.labels, fresh.protocol, loss_of=fresh.kind.loss)
    del blocks


def _infer_once(fresh: Setting) -> None:
    fresh.method.eject(fresh.classifier.backbone)
    batch = next(iter(fresh.test_batches()))
    fresh.classifier.eval()
    with torch.inference_mode(), autocasting(fresh.protocol)():
        fresh.classifier(**batch.inputs)


def _throw_away(setting: Setting, passes: Callable[[Setting], None]) -> None:
    """Runs passes on a copy of the setting with a new classifier and a new method, and frees them.

    On CUDA, where the run's memory is measured, the copy shares the frozen weights of the run, and the blocks that were
    needed to make the classifier are released, since they would count as reserved memory.
    """
    with random_states_kept(setting.device):
        fresh = setting.untrained()
        if setting.device.type == "cuda":
            share_frozen(fresh.classifier, setting.classifier)
            torch.cuda.synchronize(setting.device)
            torch.cuda.empty_cache()
        passes(fresh)
    del fresh
    gc.collect()  # modules refer to each other in cycles, so that without this their memory would stay taken


@contextmanager
def random_states_kept(device: torch.device) -> Iterator[None]:
    """Restores the states of the random generators of torch, Python and numpy after the block."""
    python, arrays = random.getstate(), np.random.get_state()
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)


def share_frozen(model: nn.Module, other: nn.Module) -> None:
    """Lets each frozen parameter of a model use the memory of the other model's equal parameter with the same name."""
    twins = dict(other.named_parameters())
    for name, parameter in model.named_parameters():
        twin = twins.get(name)
        if twin is not None and not parameter.requires_grad and torch.equal(parameter, twin):
            parameter.data = twin.data
