"""Replaces the tensors of a model by tensors without values for a while, so that its operators can be counted.

The modules themselves are not copied: hooks of a method may refer to them, and a copy would call the originals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map

StandIn = Callable[[Tensor], Tensor]


class Swap:
    """Puts stand-ins of the same shapes in the place of a model's tensors, and the tensors back.

    Args:
        model: whose parameters, buffers and tensors kept as plain attributes to replace.
        stand_in: makes the replacement of a tensor. It is called once for each tensor, so tied tensors stay tied.
    """

    def __init__(self, model: nn.Module, stand_in: StandIn) -> None:
        self._model = model
        self._stand_in = stand_in
        self._made: dict[int, tuple[Tensor, Tensor]] = {}  # by id; the original is kept, so ids stay

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Replaces the tensors for the block. After it the modules' attributes are what they were before."""
        before = [(module, dict(vars(module))) for module in self._model.modules()]
        try:
            for module, attributes in before:
                self._replace(module, attributes)
            yield
        finally:
            for module, attributes in before:
                vars(module).clear()
                vars(module).update(attributes)

    def _replace(self, module: nn.Module, attributes: dict[str, Any]) -> None:
        for name, value in attributes.items():
            if name in ("_parameters", "_buffers"):
                vars(module)[name] = {key: self._of(tensor) for key, tensor in value.items()}
            elif isinstance(value, Tensor):
                vars(module)[name] = self._of(value)

    def _of(self, tensor: Tensor | None) -> Tensor | None:
        if tensor is None:
            return None
        if id(tensor) not in self._made:
            made = self._stand_in(tensor.detach())
            if isinstance(tensor, nn.Parameter):
                made = nn.Parameter(made, requires_grad=tensor.requires_grad)
            self._made[id(tensor)] = tensor, made
        return self._made[id(tensor)][1]

    def clear_gradients(self) -> None:
        """Drops the stand-ins' gradients."""
        for _, made in self._made.values():
            made.grad = None


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Restores modes, gradients, buffers and the random state after a block that really runs the model."""
    training = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    for parameter, _ in gradients:
        parameter.grad = None
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        for module, mode in training:
            module.training = mode
        for parameter, gradient in gradients:
            parameter.grad = gradient
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


def fake_mode() -> FakeTensorMode:
    """Makes the mode under which tensors have shapes and no values. Real tensors are used by their shapes."""
    return FakeTensorMode(allow_non_fake_inputs=True)


def fake(mode: FakeTensorMode) -> StandIn:
    """Makes fake tensors on the device of the original; those of `meta` go to the CPU."""

    def stand_in(tensor: Tensor) -> Tensor:
        device = "cpu" if tensor.device.type == "meta" else tensor.device
        with mode:
            return torch.zeros(tensor.shape, dtype=tensor.dtype, device=device)

    return stand_in


def on_meta(tensor: Tensor) -> Tensor:
    """A tensor on `meta`, without values, of the same shape and dtype."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")


def map_tensors(batch: Mapping[str, Any], stand_in: StandIn) -> dict[str, Any]:
    """The batch with stand-ins for its tensors, in any nesting; anything else stays."""

    def replace(value: object) -> object:
        return stand_in(value) if isinstance(value, Tensor) else value

    return {name: tree_map(replace, value) for name, value in batch.items()}
