"""Counts the FLOPs of all batches of a run from their shapes, after the run.

For a transformer the FLOPs of a batch are a polynomial of its shape: at most linear in the rows (the constant is what
runs once a batch) and at most quadratic in the length. So six counted shapes determine the polynomial exactly, and
all other shapes follow from it. A model that pads or uses windows inside, such as Longformer, has no such polynomial.
Therefore the polynomial is tested on counted shapes, the largest of the run among them. Where it misses one, or where
the run has few shapes, each shape of the run is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import product
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Shape = tuple[int, int]  # rows, padded length in tokens
Count = Callable[[Shape], int]

FEW_SHAPES = 7  # as many as the polynomial and its test need

TOLERANCE = Fraction(1, 1000)  # the polynomial may miss a tested shape by this share of its FLOPs


@dataclass(frozen=True)
class RunFlops:
    """The FLOPs of all batches of a run.

    Attributes:
        flops: the sum over the batches.
        examples: the number of rows in all batches.
    """

    flops: int
    examples: int

    @property
    def flops_per_example(self) -> float:
        """The mean over the rows."""
        return self.flops / self.examples


def run_flops(count: Count, batches: Mapping[Shape, int], *, counted_on: Iterable[Shape] | None = None) -> RunFlops:
    """Sums `count` over a run's batches.

    Args:
        count: FLOPs of one batch of that shape, for instance of `Shaped.forward` on `token_batch`.
        batches: how many batches of each shape (rows, padded length) the run had.
        counted_on: shapes that the counted ones span, in place of the run's own: small ones, where
            counting means running.

    Raises:
        ValueError: no batch, or a shape without rows or tokens.
    """
    shapes = {shape: number for shape, number in batches.items() if number}
    if not shapes or any(min(shape) < 1 for shape in shapes):
        raise ValueError("a run's FLOPs need batches, each of a row and a token at least")
    counted = cache(count)
    if counted_on is not None:
        fitted = fit(counted, counted_on, tested_on=extremes(shapes))
    else:
        fitted = None if len(shapes) <= FEW_SHAPES else fit(counted, shapes)
    value = counted if fitted is None else fitted
    return RunFlops(
        flops=sum(number * value(shape) for shape, number in shapes.items()),
        examples=sum(number * shape[0] for shape, number in shapes.items()),
    )


@dataclass(frozen=True)
class FlopPolynomial:
    """The FLOPs of a batch as a polynomial of its shape, through counted shapes, in exact arithmetic.

    Attributes:
        counted: shape -> FLOPs, for two numbers of rows combined with three lengths.

    >>> flops = lambda shape: shape[0] * (7 * shape[1] + shape[1] ** 2)
    >>> polynomial = FlopPolynomial({(rows, length): flops((rows, length)) for rows in (2, 4) for length in (1, 5, 9)})
    >>> polynomial((3, 100)) == flops((3, 100))
    True
    """

    counted: Mapping[Shape, int]

    def __call__(self, shape: Shape) -> int:
        """FLOPs of one batch of that shape."""
        rows = sorted({rows for rows, _ in self.counted})
        lengths = sorted({length for _, length in self.counted})
        total = sum(
            (
                flops * _basis(shape[0], at=row, nodes=rows) * _basis(shape[1], at=length, nodes=lengths)
                for (row, length), flops in self.counted.items()
            ),
            start=Fraction(0),
        )
        return round(total)


def extremes(shapes: Iterable[Shape]) -> set[Shape]:
    """The shape with the most tokens and the longest shape, which are usually the same.

    >>> sorted(extremes([(8, 16), (2, 32), (1, 4)]))
    [(2, 32), (8, 16)]
    """
    shapes = list(shapes)
    by_tokens = max(shapes, key=lambda shape: (shape[0] * shape[1], shape[1]))
    return {by_tokens, max(shapes, key=lambda shape: (shape[1], shape[0]))}


def fit(count: Count, shapes: Iterable[Shape], *, tested_on: Iterable[Shape] = ()) -> FlopPolynomial | None:
    """Determines the polynomial for the shapes of a run, and tests it.

    It holds for one method on one model, so that it can be used for all runs that differ in data or seed only.

    Args:
        count: FLOPs of one batch of a shape.
        shapes: the shapes of the run; the counted ones span their rows and lengths.
        tested_on: shapes on which it may be off by at most `TOLERANCE`. If all of them were counted to determine it,
            or none is given, it is tested on one more shape in between.

    Returns:
        The polynomial; None if it misses a tested shape.
    """
    shapes = list(shapes)
    low = min(length for _, length in shapes)
    high = max(low + 3, *(length for _, length in shapes))
    lengths = (low, (low + high) // 2, high)
    rows = (2, max(4, *(rows for rows, _ in shapes)))
    fitted = FlopPolynomial({shape: count(shape) for shape in product(rows, lengths)})
    tests = set(tested_on) - set(fitted.counted)
    if not tests:
        tests = {(1, next(length for length in range(high - 1, low, -1) if length not in lengths))}
    holds = all(abs(fitted(test) - count(test)) <= TOLERANCE * count(test) for test in tests)
    return fitted if holds else None


def token_batch(shape: Shape, *, device: torch.device | str = "meta", pairs: bool = False) -> dict[str, Tensor]:
    """Makes inputs of a text encoder: `input_ids`, `attention_mask`, and `token_type_ids` if `pairs`.

    Returns:
        Integer tensors, each (rows, length); on `meta` they have no values.
    """
    import torch

    names = ("input_ids", "attention_mask", "token_type_ids")[: 3 if pairs else 2]
    batch = {name: torch.zeros(shape, dtype=torch.long, device=device) for name in names}
    batch["attention_mask"] = torch.ones(shape, dtype=torch.long, device=device)
    return batch


def _basis(value: int, *, at: int, nodes: Iterable[int]) -> Fraction:
    """The value of Lagrange's basis polynomial, which is 1 at the node `at` and 0 at the other nodes."""
    others = [node for node in nodes if node != at]
    return Fraction(prod(value - node for node in others), prod(at - node for node in others))
