"""The first step of a process is slow: kernels are loaded, memory is reserved. Here it is taken before the clock.

A warm-up runs on a classifier and a method of its own, made anew and thrown away, so that nothing that a method keeps
in its modules or in itself is touched. It draws no random number that the run draws. What code keeps elsewhere, in a
class or a module of Python, cannot be put back: a method that counts there counts the warm-up too.
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
    """A forward and backward pass on the longest training rows, and the optimizer's kernel on a weight of its own.

    The passes run beside a block for each trainable weight, so that all the memory of a real step has been reserved
    once: with the weights of the classifier that is thrown away it is as large as the optimizer's state, AdamW's two
    moments. On the CPU nothing is written to these blocks, and they cost nothing.
    """
    if any(parameter.requires_grad for parameter in setting.classifier.parameters()):
        _throw_away(setting, _train_once)


def warm_up_inference(setting: Setting) -> None:
    """A forward pass on the longest test rows, as deployed."""
    _throw_away(setting, _infer_once)


def _train_once(fresh: Setting) -> None:
    apart = nn.Parameter(torch.zeros(1, device=fresh.device))
    apart.grad = torch.zeros_like(apart)
    torch.optim.AdamW([apart], fused=True).step()
    batch = next(on_device(batches(fresh.train, size=fresh.protocol.batch_size), fresh.device))
    blocks = [torch.empty_like(p) for p in fresh.classifier.parameters() if p.requires_grad]
    fresh.classifier.train()
    backward_pass(fresh.classifier, fresh.method, batch.inputs, batch.labels, fresh.protocol)
    del blocks


def _infer_once(fresh: Setting) -> None:
    fresh.method.eject(fresh.classifier.backbone)
    batch = next(iter(fresh.test_batches()))
    fresh.classifier.eval()
    with torch.inference_mode(), autocasting(fresh.protocol)():
        fresh.classifier(**batch.inputs)


def _throw_away(setting: Setting, passes: Callable[[Setting], None]) -> None:
    """Runs passes on the setting with a classifier and a method made anew, and frees these.

    On CUDA, whose memory is counted, the frozen weights are the run's own, and the blocks that were used to make the
    classifier are handed back: they would count as reserved.
    """
    with random_states_kept(setting.device):
        fresh = setting.untrained()
        if setting.device.type == "cuda":
            share_frozen(fresh.classifier, setting.classifier)
            torch.cuda.synchronize(setting.device)
            torch.cuda.empty_cache()
        passes(fresh)
    del fresh
    gc.collect()  # modules refer to each other in circles, and training needs their memory


@contextmanager
def random_states_kept(device: torch.device) -> Iterator[None]:
    """Puts the random states of torch, of Python and of numpy back after the block."""
    python, arrays = random.getstate(), np.random.get_state()
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)


def share_frozen(model: nn.Module, other: nn.Module) -> None:
    """Lets the frozen parameters of a model use the memory of another's that equal them, by name."""
    theirs = dict(other.named_parameters())
    for name, parameter in model.named_parameters():
        twin = theirs.get(name)
        if twin is not None and not parameter.requires_grad and torch.equal(parameter, twin):
            parameter.data = twin.data
