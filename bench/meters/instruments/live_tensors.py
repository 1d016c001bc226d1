"""Memory of tensors: the exact peak of live bytes and what it consists of; CUDA's own peaks.

`bench.meters.resident` measures the process as the system sees it.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

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
    """Adds every new storage once and subtracts it when it dies. Exact, and slow: not in a timed pass.

        with LiveTensors(model, optimizer=optimizer, inputs=batch) as meter:
            step()
        meter.figures.peak_bytes

    A block that raises is reported up to there. Bytes that kernels use within one call are not seen.

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
        """Splits the peak by replaying the log up to it; only now is it known what became what."""
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


@dataclass(frozen=True)
class CudaMemory:
    """Peaks of torch's CUDA allocator over one phase; None with a reason without CUDA.

    Attributes:
        max_allocated_bytes: the most that tensors held, pauses left out.
        max_reserved_bytes: the most that the allocator held before the first pause, cached blocks included.
        reason: why both are None.
    """

    max_allocated_bytes: int | None
    max_reserved_bytes: int | None
    reason: str | None = None


class PeakSource(Protocol):
    """An allocator that remembers its peaks."""

    def reset(self) -> None:
        """Forgets the peaks; what is held now is the least that they can be."""

    def allocated(self) -> int:
        """The most bytes that tensors held since the reset."""

    def reserved(self) -> int:
        """The most bytes that the allocator held since the reset."""


class CudaAllocator:
    """torch's CUDA allocator of one device.

    Args:
        device: a CUDA device; without an index the current one, which is where the run's tensors go.
    """

    def __init__(self, device: torch.device) -> None:
        self._index = torch.cuda.current_device() if device.index is None else device.index

    def reset(self) -> None:
        torch.cuda.synchronize(self._index)
        torch.cuda.reset_peak_memory_stats(self._index)

    def allocated(self) -> int:
        return torch.cuda.max_memory_allocated(self._index)

    def reserved(self) -> int:
        return torch.cuda.max_memory_reserved(self._index)


class CudaPeak:
    """Measures CUDA's allocator over its block, which may raise; other devices get None.

    The peaks are reset at the start and after each pause, and read at each pause and at the end. The allocator keeps
    what a pause made it reserve, so `max_reserved_bytes` is that of the block up to its first pause: let a warm-up at
    the largest batch come before the block, then nothing that the block itself needs is reserved later. Hand cached
    blocks back before that warm-up; this meter does not, else the block would have to reserve them within a clock.

    Args:
        device: the run's.
        source: what to read; None: CUDA's allocator, if the device is one of CUDA.
    """

    figures: CudaMemory

    def __init__(self, device: torch.device | str, *, source: PeakSource | None = None) -> None:
        device = torch.device(device)
        self._reason = None
        self._source = source
        if source is None and device.type != "cuda":
            self._reason = f"the device is {device.type}, not cuda"
        elif source is None and not torch.cuda.is_available():
            self._reason = "no CUDA device is to be had"
        elif source is None:
            self._source = CudaAllocator(device)

    def __enter__(self) -> CudaPeak:
        self.figures = CudaMemory(None, None, self._reason or "the phase has not ended")
        self._allocated: list[int] = []
        self._reserved: list[int] = []
        if self._source is not None:
            self._source.reset()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._source is not None:
            self._read()
            self.figures = CudaMemory(max(self._allocated), self._reserved[0])

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves the block out."""
        if self._source is None:
            yield
            return
        self._read()
        try:
            yield
        finally:
            self._source.reset()

    def _read(self) -> None:
        if self._source is not None:
            self._allocated.append(self._source.allocated())
            self._reserved.append(self._source.reserved())


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
