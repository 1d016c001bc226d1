"""A forward pass as fvcore sees it: traced, its operators counted one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves

from bench.meters.instruments.operators import multiply_adds, without_attention
from bench.meters.instruments.stand_ins import Swap, on_meta, untouched

Batch = Mapping[str, Any]


def traced_forward(model: nn.Module, batch: Batch, *, stand_ins: bool) -> tuple[int, tuple[str, ...]] | str:
    """Counts one forward pass by fvcore.

    Args:
        model: left as it was.
        batch: its keyword arguments.
        stand_ins: trace on tensors without values.

    Returns:
        Multiply-adds and the arithmetic operators left out; or, in words, why there are none.

    Raises:
        UncountedAttentionError: attention is among those left out.
    """
    tensors = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
    others = {name: value for name, value in batch.items() if name not in tensors}
    by_order = _ByOrder(model, tuple(tensors), others)
    inputs = tuple(on_meta(tensor) if stand_ins else tensor for tensor in tensors.values())
    apart = Swap(model, on_meta).swapped() if stand_ins else untouched(model)
    try:
        with apart, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            multiplied, uncounted = multiply_adds(by_order, inputs)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        line = (str(error).strip().splitlines() or [""])[0].split(". ")[0]
        return f"fvcore could not trace the forward pass: {type(error).__name__}: {line}"
    opaque = [name for name in uncounted if name.startswith("python:")]
    if opaque:
        return f"fvcore cannot look into {', '.join(opaque)}"
    return multiplied, without_attention(uncounted)


class _ByOrder(nn.Module):
    """Takes its tensors in order, as fvcore gives them, and hands them on by name."""

    def __init__(self, model: nn.Module, names: tuple[str, ...], others: dict[str, Any]) -> None:
        super().__init__()
        self.model = model
        self._names = names
        self._others = others

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        output = self.model(**dict(zip(self._names, tensors, strict=True)), **self._others)
        leaves = tree_leaves(output.to_tuple() if hasattr(output, "to_tuple") else output)
        return tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))
