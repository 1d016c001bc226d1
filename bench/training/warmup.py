"""The first step of a process is slow: kernels are loaded, memory is reserved. Here it is taken before the clock.

A warm-up takes no optimizer step, draws no random number that training draws, and puts back what it touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from bench.meters.stand_ins import untouched
from bench.training.encoding import batches
from bench.training.loop import autocasting, backward_pass
from bench.training.prepared import Setting, on_device


def warm_up_training(setting: Setting) -> None:
    """A forward and backward pass on the longest training rows, and the optimizer's kernel on a weight of its own.

    The passes run beside blocks as large as the optimizer's state, so that all the memory of a real step has been
    reserved once. On the CPU nothing is written to these blocks, and they cost nothing.
    """
    classifier, protocol = setting.classifier, setting.protocol
    trainable = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    if not trainable:
        return
    _hand_back(setting.device)
    apart = nn.Parameter(torch.zeros(1, device=setting.device))
    apart.grad = torch.zeros_like(apart)
    torch.optim.AdamW([apart], fused=True).step()
    batch = next(on_device(batches(setting.train, size=protocol.batch_size), setting.device))
    with as_before(classifier):
        state = [torch.empty_like(parameter) for parameter in trainable for _ in range(2)]  # AdamW's two moments
        classifier.train()
        backward_pass(classifier, setting.method, batch.inputs, batch.labels, protocol, loss_of=setting.kind.loss)
        del state


def warm_up_inference(setting: Setting) -> None:
    """A forward pass on the longest test rows."""
    _hand_back(setting.device)
    batch = next(iter(setting.test_batches()))
    with as_before(setting.classifier), torch.inference_mode(), autocasting(setting.protocol)():
        setting.classifier.eval()
        setting.classifier(**batch.inputs)


@contextmanager
def as_before(model: nn.Module) -> Iterator[None]:
    """Puts back what the block changed: modes, gradients, buffers, random state, and attributes such as counters."""
    attributes = [(module, dict(vars(module)), dict(module._buffers)) for module in model.modules()]
    with untouched(model):
        try:
            yield
        finally:
            for module, before, buffers in attributes:
                vars(module).clear()
                vars(module).update(before)
                module._buffers.clear()
                module._buffers.update(buffers)


def _hand_back(device: torch.device) -> None:
    """Returns the blocks that CUDA's allocator keeps from what ran before; they would count as reserved."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
