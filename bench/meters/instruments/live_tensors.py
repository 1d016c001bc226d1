"""Measures the exact peak of the bytes of live tensors, and how it is split into weights, gradients and the rest."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class LiveBytes:
    """Bytes of the tensor storages that were alive at the peak, and their split at that moment.

    Attributes:
        peak_bytes: the most that were alive at once; the sum of the four parts.
        weights_bytes: the model's parameters and buffers.
        gradients_bytes: what is, or became, the gradient of a parameter.
        optimizer_bytes: what is kept in the optimizer's state at the end.
        activations_bytes: the rest: inputs, saved for backward, temporary.
        start_bytes: alive when the block began.
        end_bytes: alive when it ended.
    """

    peak_bytes: int
    weights_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    activations_bytes: int
    start_bytes: int
    end_bytes: int


class LiveTensors(TorchDispatchMode):
    """Measures the live bytes of a block. Every new storage is added once, and subtracted when it is freed.

    The count is exact and slow, so that it must not run in a timed pass. If the block raises, `figures` covers the
    part before. Bytes that a kernel allocates and frees within one call are not seen.

    >>> model = nn.Linear(8, 4, bias=False)  # 32 weights of 4 bytes
    >>> with torch.no_grad(), LiveTensors(model) as meter:
    ...     _ = model(torch.zeros(2, 8))
    >>> meter.figures.weights_bytes, meter.figures.activations_bytes  # the input, 2 x 8, and the output, 2 x 4
    (128, 96)

    Args:
        model: whose weights and gradients to tell apart.
        optimizer: whose state to tell apart.
        inputs: tensors that are alive already, in any nesting.
    """

    figures: LiveBytes

    def __init__(
        self, model: nn.Module, *, optimizer: torch.optim.Optimizer | None = None, inputs: object = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._model = model
        self._optimizer = optimizer
        self._inputs = inputs

    def __enter__(self) -> LiveTensors:
        self._alive: dict[int, tuple[weakref.ref[torch.UntypedStorage], int]] = {}
        self._log: list[tuple[int, int]] = []  # (storage's number, change in bytes)
        self._numbers: dict[int, int] = {}  # from a living storage's id
        self._next = self._live = self._peak = self._peak_at = 0
        self._gradients: set[int] = set()
        for tensor in (*self._model.parameters(), *self._model.buffers(), *_tensors(self._inputs)):
            self._add(tensor)
        self._weights = {self._add(t) for t in (*self._model.parameters(), *self._model.buffers())}
        self._note_gradients()
        self._states()
        self._start = self._live
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(self._accumulated)
            for parameter in self._model.parameters()
            if parameter.requires_grad and parameter.is_leaf
        ]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        for hook in self._hooks:
            hook.remove()
        self._note_gradients()
        self._report(self._states())
        self._alive.clear()  # drops the weak references, and their callbacks with them

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            self._add(tensor)
        return result

    def _add(self, tensor: Tensor) -> int:
        """Counts the tensor's storage unless it is counted; follows a resize. Returns its number."""
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key not in self._numbers:
            self._numbers[key] = self._next
            self._next += 1
            reference = weakref.ref(storage, lambda _, key=key: self._died(key))  # type: ignore[misc]
            self._alive[key] = (reference, 0)
        number, (reference, before) = self._numbers[key], self._alive[key]
        if size != before:
            self._alive[key] = (reference, size)
            self._change(number, size - before)
        return number

    def _died(self, key: int) -> None:
        number = self._numbers.pop(key, None)
        if number is not None:
            self._change(number, -self._alive.pop(key)[1])

    def _change(self, number: int, change: int) -> None:
        self._log.append((number, change))
        self._live += change
        if self._live > self._peak:
            self._peak, self._peak_at = self._live, len(self._log)

    def _accumulated(self, parameter: Tensor) -> None:
        if parameter.grad is not None:
            self._gradients.add(self._add(parameter.grad))

    def _note_gradients(self) -> None:
        for parameter in self._model.parameters():
            self._accumulated(parameter)

    def _states(self) -> set[int]:
        """The numbers of the storages in the optimizer's state."""
        state = {} if self._optimizer is None else dict(self._optimizer.state)
        return {self._add(tensor) for tensor in _tensors(list(state.values()))}

    def _report(self, states: set[int]) -> None:
        """Splits the peak by replaying the log up to it.

        It is done at the end, since only then is it known which storages became gradients or optimizer state.
        """
        sizes: dict[int, int] = {}
        for number, change in self._log[: self._peak_at]:
            sizes[number] = sizes.get(number, 0) + change

        def part(numbers: Iterable[int]) -> int:
            return sum(sizes.get(number, 0) for number in numbers)

        weights, gradients = part(self._weights), part(self._gradients - self._weights)
        optimizer = part(states - self._gradients - self._weights)
        self.figures = LiveBytes(
            peak_bytes=self._peak,
            weights_bytes=weights,
            gradients_bytes=gradients,
            optimizer_bytes=optimizer,
            activations_bytes=self._peak - weights - gradients - optimizer,
            start_bytes=self._start,
            end_bytes=self._live,
        )


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
