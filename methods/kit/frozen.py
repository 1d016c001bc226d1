"""Building on a frozen module: taking over its parameters, giving it back bare, adding a product to its output."""

from __future__ import annotations

from typing import overload

from torch import Tensor, nn


def share(module: nn.Linear | nn.LayerNorm, base: nn.Linear | nn.LayerNorm) -> None:
    """Makes `module` hold the very parameters and settings of `base`, whose place it is to take.

    It stands in the place of `nn.Linear.__init__` (or that of `nn.LayerNorm`), which would draw new weights. The
    parameters keep their names, so that a state dict of the pretrained model still loads.

    Args:
        module: of a subclass of the class of `base`, at the start of its own `__init__`.
        base: the pretrained module.
    """
    nn.Module.__init__(module)
    names = ("in_features", "out_features") if isinstance(base, nn.Linear) else _NORM_SETTINGS
    for name in names:
        setattr(module, name, getattr(base, name))
    module.weight, module.bias = base.weight, base.bias


_NORM_SETTINGS = ("normalized_shape", "eps", "elementwise_affine")


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
    plain = nn.Linear.__new__(nn.Linear) if isinstance(module, nn.Linear) else nn.LayerNorm.__new__(nn.LayerNorm)
    share(plain, module)
    return plain


def add_product(out: Tensor, left: Tensor, right: Tensor, *, scale: float = 1.0) -> Tensor:
    """`out + scale * left right^T`, written into `out`.

    One product that adds its result in place: no second tensor of the size of `out` is made, in memory or in time.
    Under autocast `out` keeps its precision, to which the factors are brought.

    Args:
        out: (rows, columns), the output of an operation, not a view of a tensor that is used again.
        left: (rows, inner).
        right: (columns, inner), a weight as `nn.Linear` stores one.
        scale: multiplies the product.

    Returns:
        `out`.
    """
    right = right.t().to(out.dtype)
    return out.addmm_(left.to(out.dtype), right, alpha=scale)
