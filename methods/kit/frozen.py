"""Modules that stand in for a frozen projection or norm, on its very parameters, and add to its output."""

from __future__ import annotations

from typing import overload

from torch import Tensor, nn

LINEAR_SETTINGS = ("in_features", "out_features")
NORM_SETTINGS = ("normalized_shape", "eps", "elementwise_affine")


def share(module: nn.Linear | nn.LayerNorm, base: nn.Linear | nn.LayerNorm) -> None:
    """Makes `module` hold the very parameters and settings of `base`, whose place it is to take.

    A subclass calls it instead of `nn.Linear.__init__` or `nn.LayerNorm.__init__`, which would draw new weights. The
    parameters keep their names, so that a state dict of the pretrained model still loads.

    Args:
        module: of a subclass of the class of `base`, at the start of its own `__init__`.
        base: the pretrained module.
    """
    nn.Module.__init__(module)
    for name in LINEAR_SETTINGS if isinstance(base, nn.Linear) else NORM_SETTINGS:
        setattr(module, name, getattr(base, name))
    module.weight, module.bias = base.weight, base.bias


@overload
def bare(module: nn.Linear) -> nn.Linear: ...
@overload
def bare(module: nn.LayerNorm) -> nn.LayerNorm: ...
def bare(module: nn.Linear | nn.LayerNorm) -> nn.Linear | nn.LayerNorm:
    """The plain projection or layer norm that `module` was built on: the reverse of `share`.

    >>> from torch import nn
    >>> linear = nn.Linear(2, 3)
    >>> bare(linear).weight is linear.weight
    True
    """
    plain: nn.Linear | nn.LayerNorm
    plain = nn.Linear.__new__(nn.Linear) if isinstance(module, nn.Linear) else nn.LayerNorm.__new__(nn.LayerNorm)
    share(plain, module)
    return plain


def add_product(out: Tensor, left: Tensor, right: Tensor, *, scale: float = 1.0) -> Tensor:
    """`out + scale * left right^T`, written into `out`.

    The product is added in place, so that no second tensor of the size of `out` is made. Under autocast `out` keeps
    its precision, to which the factors are converted.

    Args:
        out: (rows, columns); nothing else may need its old value, so not a tensor that the caller was given.
        left: (rows, inner).
        right: (columns, inner), a weight as `nn.Linear` stores one.
        scale: multiplies the product.

    Returns:
        `out`.
    """
    right = right.t().to(out.dtype)
    return out.addmm_(left.to(out.dtype), right, alpha=scale)
