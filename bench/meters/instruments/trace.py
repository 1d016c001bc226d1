"""Counts the FLOPs of a forward pass a second time, by fvcore, which traces the pass and counts its operators.

fvcore shares no code with torch's FlopCounterMode, so agreement of the two makes it unlikely that one left work out.
`bench inspect` prints both; no run depends on this count.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves

from bench.meters.instruments.flop_counter import ModelInputs
from bench.meters.instruments.operators import attention_among, multiply_adds
from bench.meters.instruments.stand_ins import Swap, on_meta, untouched


def fvcore_flops(model: nn.Module, batch: ModelInputs) -> int | str:
    """Counts one forward pass by fvcore, 2 FLOPs a multiply-add.

    Args:
        model: left as it was.
        batch: its keyword arguments.

    Returns:
        FLOPs; or a text that says why they could not be counted.
    """
    count = _traced(model, batch, stand_ins=True)
    if isinstance(count, str):  # a model that looks at values cannot be traced without them
        meta = any(parameter.is_meta for parameter in model.parameters())
        count = count if meta else _traced(model, batch, stand_ins=False)
    return count


def _traced(model: nn.Module, batch: ModelInputs, *, stand_ins: bool) -> int | str:
    tensors = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
    others = {name: value for name, value in batch.items() if name not in tensors}
    by_order = _ByOrder(model, tuple(tensors), others)
    inputs = tuple(on_meta(tensor) if stand_ins else tensor for tensor in tensors.values())
    apart = Swap(model, on_meta).swapped() if stand_ins else untouched(model)
    try:
        with apart, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            multiplied, uncounted = multiply_adds(by_order, inputs)
    except ImportError:
        return "fvcore is not installed"
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        line = (str(error).strip().splitlines() or [""])[0].split(". ")[0]
        return f"fvcore could not trace the forward pass: {type(error).__name__}: {line}"
    opaque = [name for name in uncounted if name.startswith("python:")]
    if opaque:
        return f"fvcore cannot look into {', '.join(opaque)}"
    attention = attention_among(uncounted)
    return f"fvcore left out attention, in {', '.join(attention)}" if attention else 2 * multiplied


class _ByOrder(nn.Module):
    """Takes tensors by position, as fvcore passes them, and calls the model with them by name."""

    def __init__(self, model: nn.Module, names: tuple[str, ...], others: dict[str, Any]) -> None:
        super().__init__()
        self.model = model
        self._names = names
        self._others = others

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        output = self.model(**dict(zip(self._names, tensors, strict=True)), **self._others)
        leaves = tree_leaves(output.to_tuple() if hasattr(output, "to_tuple") else output)
        return tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))
