"""Says which uncounted operators do arithmetic, and which operators fvcore has to count.

The convention is 2 FLOPs a multiply-add of matrix products, convolutions and attention. Elementwise
operators and reductions are left out: they are named, and grow only with the number of elements.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from math import prod
from typing import Any

Handle = Callable[[list[Any], list[Any]], float]


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split())


# They move, make, look up, compare or choose, and do no arithmetic on activations.
NO_ARITHMETIC = _names(
    """
    _has_compatible_shallow_copy_type _local_scalar_dense _reshape_alias _to_copy _unsafe_view alias
    arange argmax argsort as_strided bernoulli bernoulli_ bitwise_and bitwise_not bitwise_or bool
    broadcast_tensors broadcast_to cat chunk clone constant_pad_nd contiguous copy copy_ detach detach_
    device diagonal dropout embedding empty empty_like empty_strided eq equal expand expand_as
    feature_dropout fill_ flatten flip full full_like gather ge ge_ gt hstack index index_put index_put_
    index_select int isinf isnan item le lift_fresh local_scalar_dense logical_and logical_not
    logical_or lt masked_fill masked_fill_ masked_select movedim narrow native_dropout ne new_empty
    new_empty_strided new_full new_ones new_zeros nonzero numel one_hot ones ones_like pad permute rand
    rand_like randn randn_like repeat repeat_interleave reshape resize_ resolve_conj resolve_neg
    result_type roll scalar_tensor scatter select select_backward select_scatter set_ size slice
    slice_backward slice_scatter sort split split_with_sizes squeeze stack swapaxes swapdims t tensor
    tile to topk transpose transpose_ tril triu type_as unbind unflatten unfold unsafe_split unsqueeze
    unsqueeze_ values_like view view_as vstack where zero_ zeros zeros_like
    """
)

# Kernels that go by another name than the function that one calls.
_CALLED = {
    "_safe_softmax": "softmax",
    "_softmax": "softmax",
    "_log_softmax": "log_softmax",
    "native_layer_norm": "layer_norm",
    "native_group_norm": "group_norm",
    "native_batch_norm": "batch_norm",
}


class UncountedAttentionError(RuntimeError):
    """An operator that computes attention was not counted, so the figure would be too small."""


def bare(operator: str) -> str:
    """The name of an operator without namespace and overload; a traced Python function keeps its name.

    >>> bare("aten::add"), bare("aten.add.Tensor")
    ('add', 'add')
    """
    if operator.startswith("prim::PythonOp"):
        return operator.removeprefix("prim::").replace("PythonOp.", "python:")
    name = operator.split("::")[-1]
    return name.split(".")[1] if name.startswith(("aten.", "prim.")) else name


def arithmetic(operators: Iterable[str]) -> tuple[str, ...]:
    """The operators that do arithmetic, bare names in order; one that is unknown here counts as such.

    Examples:
        >>> arithmetic(["aten.native_layer_norm.default", "aten.view.default", "aten::add"])
        ('add', 'layer_norm')
    """
    doing = {bare(operator) for operator in operators} - NO_ARITHMETIC
    return tuple(sorted({_CALLED.get(name, name) for name in doing}))


def attention_among(operators: Iterable[str]) -> tuple[str, ...]:
    """The operators that compute attention, judged by their names; fused transformer layers are among them."""
    marks = ("attention", "multi_head", "multihead", "transformer_encoder", "sdpa")
    return tuple(sorted(name for name in operators if any(mark in name.lower() for mark in marks)))


def without_attention(operators: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the operators unchanged, after a check that none of them computes attention.

    Raises:
        UncountedAttentionError: attention is among them.
    """
    attention = attention_among(operators)
    if attention:
        raise UncountedAttentionError(f"attention ran uncounted, in {', '.join(attention)}")
    return operators


def multiply_adds(model: Any, inputs: tuple[Any, ...]) -> tuple[int, tuple[str, ...]]:
    """Counts one forward pass by fvcore, and names the arithmetic operators that it left out.

    Args:
        model: a module that takes `inputs`, in order.
        inputs: tensors.

    Returns:
        Multiply-adds (half the FLOPs), and bare operator names.
    """
    with warnings.catch_warnings():
        # fvcore 0.1.5 scripts a loss function on import, which torch 2.13 calls deprecated.
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=DeprecationWarning)
        from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(model, inputs)
    analysis.clear_op_handles().set_op_handle(**_handles())
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    return int(analysis.total()), arithmetic(analysis.unsupported_ops())


def _handles() -> dict[str, Handle]:
    from fvcore.nn.jit_handles import conv_flop_jit, einsum_flop_jit

    alone = ("linear", "matmul", "mm", "bmm", "mv", "dot", "vdot", "inner")
    added = ("addmm", "addmm_", "baddbmm", "baddbmm_", "addmv", "addmv_")
    return {
        **{f"aten::{name}": _product(factor=0) for name in alone},
        **{f"aten::{name}": _product(factor=1) for name in added},
        "aten::einsum": einsum_flop_jit,
        "aten::_convolution": conv_flop_jit,
        "aten::scaled_dot_product_attention": _attention,
    }


def _product(*, factor: int) -> Handle:
    """Multiply-adds of a matrix product: its elements times the contracted length of that input."""

    def handle(inputs: list[Any], outputs: list[Any]) -> float:
        return prod(_shape(outputs[0])) * _shape(inputs[factor])[-1]

    return handle


def _attention(inputs: list[Any], outputs: list[Any]) -> float:
    """Scores and their product with the values, all positions, whatever the mask hides."""
    query, key, value = (_shape(tensor) for tensor in inputs[:3])
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _shape(value: Any) -> list[int]:
    return list(value.type().sizes())
