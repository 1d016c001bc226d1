"""FLOPs of a forward pass and of a whole training step: 2 a multiply-add, attention always included.

torch's FlopCounterMode counts the operators that run, the backward pass included, and so sees that a frozen weight
needs no gradient. Nothing is computed: it runs on tensors without values, so that the model is left as it was, and one
without weights (`meta`) will do. `fvcore_flops` in `trace.py` is a second, independent count of the forward pass.

On the CPU fused attention would count as nothing (docs/definitions.md), so the plain composition of matrix products is
what is counted (`SDPBackend.MATH`). The optimizer's update is elementwise and not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from bench.meters.instruments.operators import arithmetic, without_attention
from bench.meters.instruments.run_flops import Shape, token_batch
from bench.meters.instruments.stand_ins import Swap, fake, fake_mode, map_tensors, untouched

ModelInputs = Mapping[str, Any]
LossFn = Callable[[Any], Tensor]

aten = torch.ops.aten

LOOKS_AT_VALUES = (DataDependentOutputException, DynamicOutputShapeException)
"""The exceptions of tensors without values where a model reads their values."""

SMALL_TOKENS = 64  # really running a batch of so many tokens is quicker than making tensors without values


@dataclass(frozen=True)
class BatchFlops:
    """FLOPs of one batch.

    Attributes:
        forward_flops: of the forward pass, in the mode (train or eval) that the model is in.
        train_step_flops: of forward and backward pass, in training mode; None without a loss or
            where nothing is trained.
        unsupported_operators: did arithmetic in the forward pass and are not in the count.
        reason: why the training step is None.
    """

    forward_flops: int
    train_step_flops: int | None
    unsupported_operators: tuple[str, ...]
    reason: str | None = None


def count_flops(model: nn.Module, batch: ModelInputs, *, loss_fn: LossFn | None) -> BatchFlops:
    """Counts the FLOPs of `model(**batch)` and of a training step on it.

    Args:
        model: on any device, `meta` included; neither it nor its gradients change.
        batch: keyword arguments of the model, on its device.
        loss_fn: turns the model's output into a scalar; None counts the forward pass alone.

    Values are not read, unless the model itself looks at them while it computes: then it really runs.

    Raises:
        UncountedAttentionError: attention ran in an operator without a formula.
        RuntimeError: it looks at values and has none (`meta`).

    Examples:
        >>> counted = count_flops(nn.Linear(4, 5, bias=False), {"input": torch.zeros(3, 4)}, loss_fn=torch.sum)
        >>> counted.forward_flops, counted.train_step_flops
        (120, 240)
    """
    try:
        shaped = Shaped(model)
        forward, uncounted = shaped.forward(batch)
    except LOOKS_AT_VALUES:
        shaped = Shaped(model, stand_ins=False)
        forward, uncounted = shaped.forward(batch)
    step = None if loss_fn is None else shaped.train_step(batch, loss_fn)
    reason = "no loss was given" if loss_fn is None else "nothing is trained"
    return BatchFlops(forward, step, uncounted, reason if step is None else None)


class Shaped:
    """Counts batches of many shapes on one model.

    Args:
        model: the model to count. With stand-ins its tensors are replaced while a count runs, then put back.
        stand_ins: count on tensors without values, so that no shape is too large. Without them the model
            really runs, which is quicker for small shapes; random state, modes and gradients are put back.
    """

    def __init__(self, model: nn.Module, *, stand_ins: bool = True) -> None:
        self._model = model
        self._mode = fake_mode() if stand_ins else None
        self._swap = None if self._mode is None else Swap(model, fake(self._mode))

    def forward(self, batch: ModelInputs) -> tuple[int, tuple[str, ...]]:
        """FLOPs of the forward pass without a graph, and the arithmetic operators not in the count."""
        with torch.no_grad(), self._counting() as (counter, seen):
            self._model(**self._inputs(batch))
        return counter.get_total_flops(), seen.uncounted()

    def train_step(self, batch: ModelInputs, loss_fn: LossFn) -> int | None:
        """FLOPs of forward and backward pass in training mode; None where nothing is trained."""
        with torch.enable_grad(), self._counting() as (counter, seen):
            self._model.train()
            loss = loss_fn(self._model(**self._inputs(batch)))
            if not loss.requires_grad:
                return None
            loss.backward()
        seen.uncounted()
        return counter.get_total_flops()

    def _inputs(self, batch: ModelInputs) -> ModelInputs:
        return batch if self._mode is None else map_tensors(batch, fake(self._mode))

    @contextmanager
    def _counting(self) -> Iterator[tuple[FlopCounterMode, _Seen]]:
        counter = FlopCounterMode(display=False, custom_mapping=_FORMULAS)
        seen = _Seen(counter)
        with ExitStack() as stack:
            if self._mode is None or self._swap is None:
                stack.enter_context(untouched(self._model))
            else:
                stack.callback(self._swap.clear_gradients)
                stack.enter_context(self._swap.swapped())
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            stack.enter_context(self._mode or nullcontext())
            with seen, counter:
                yield counter, seen


class ShapeCount:
    """Counts a model's FLOPs at a shape, the quicker of two ways that give the same count.

    Small batches really run. Large ones run on stand-ins, whose time does not depend on the shape; a model
    that cannot compute without values (it looks at them) runs for real at every shape.

    Args:
        model: the model to count; it is left as it was.
        device: where its tensors are.
        loss_fn: turns its output into a scalar, for a training step; None counts the forward pass.
    """

    def __init__(self, model: nn.Module, *, device: torch.device, loss_fn: LossFn | None) -> None:
        self._device = device
        self._loss_fn = loss_fn
        self._real = Shaped(model, stand_ins=False)
        self._model = model
        self._valueless: Shaped | None = None
        self._needs_values = False
        self._uncounted: set[str] = set()

    @property
    def uncounted(self) -> tuple[str, ...]:
        """Operators that did arithmetic in a forward pass counted so far and are not in its FLOPs, in order."""
        return tuple(sorted(self._uncounted))

    def __call__(self, shape: Shape) -> int:
        """FLOPs of one batch of that shape; 0 for the training step of a model without trainable tensors."""
        if prod(shape) <= SMALL_TOKENS or self._needs_values:
            return self._count(self._real, shape)
        try:
            self._valueless = self._valueless or Shaped(self._model)
            return self._count(self._valueless, shape)
        except Exception:  # whatever the reason, the real run below counts or raises for a reason of its own
            self._needs_values, self._valueless = True, None
            return self._count(self._real, shape)

    def _count(self, shaped: Shaped, shape: Shape) -> int:
        batch = token_batch(shape, device=self._device)
        if self._loss_fn is None:
            flops, uncounted = shaped.forward(batch)
            self._uncounted.update(uncounted)
            return flops
        return shaped.train_step(batch, self._loss_fn) or 0


class _Seen(TorchDispatchMode):
    """Notes the operators that ran and have no formula."""

    def __init__(self, counter: FlopCounterMode) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._counter = counter
        self._names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "overloadpacket", func) not in self._counter.flop_registry:
            self._names.add(str(func))
        return func(*args, **(kwargs or {}))

    def uncounted(self) -> tuple[str, ...]:
        """Those that do arithmetic.

        Raises:
            UncountedAttentionError: attention is among them.
        """
        return without_attention(arithmetic(self._names))


def _second_times(_: Any, left: Any, right: Any, *__: Any, **___: Any) -> int:
    """A product of the second and third operand, added to the first."""
    return _times(left, right)


def _times(left: Any, right: Any, *_: Any, **__: Any) -> int:
    """A product of shapes (..., n, k) or (k) with (..., k, m) or (k)."""
    return int(2 * prod(left) * (right[-1] if len(right) > 1 else 1))


# Products that FlopCounterMode has no formula for and would count as nothing.
_FORMULAS = {
    **dict.fromkeys((aten.addmm_, aten.baddbmm_, aten.addmv, aten.addmv_, aten.addbmm, aten.addbmm_), _second_times),
    **dict.fromkeys((aten.mv, aten.dot, aten.vdot), _times),
}
