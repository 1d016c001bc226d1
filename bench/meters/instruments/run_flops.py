"""FLOPs of a whole run from the padded lengths of its batches, in a pass of its own.

For transformers a batch's FLOPs are a polynomial of its shape: at most linear in the rows (what runs
once a batch is the constant) and at most quadratic in the length. So six counted shapes give the
polynomial in exact arithmetic, and every other shape is free. Models that pad or window inside are no
such polynomial (Longformer). So the polynomial is tested on counted shapes, the largest of the run among
them; where it misses, or there are few shapes, each shape of the run is counted by itself.
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
    """FLOPs of a run's batches.

    Attributes:
        flops: their sum.
        examples: rows in all batches.
    """

    flops: int
    examples: int

    @property
    def flops_per_example(self) -> float:
        """Mean over the rows."""
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
    """FLOPs of a batch as the polynomial of its shape through counted ones, in exact arithmetic.

    Attributes:
        counted: FLOPs by shape; every one of two numbers of rows with every one of three lengths.
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
    """The batch of the most tokens and the longest batch, which are mostly one and the same."""
    shapes = list(shapes)
    by_tokens = max(shapes, key=lambda shape: (shape[0] * shape[1], shape[1]))
    return {by_tokens, max(shapes, key=lambda shape: (shape[1], shape[0]))}


def fit(count: Count, shapes: Iterable[Shape], *, tested_on: Iterable[Shape] = ()) -> FlopPolynomial | None:
    """The polynomial for a run's shapes; None if a tested shape refutes it.

    It holds for one method on one model, so that it can be kept for runs that differ in data or seed.

    Args:
        count: FLOPs of one batch of a shape.
        shapes: those it is wanted for; the counted ones span their rows and lengths.
        tested_on: shapes that it must give within `TOLERANCE`; where all of them are among the counted
            ones, or none is given, one more shape between those.
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
    """Inputs of a text encoder of that shape: `input_ids`, `attention_mask`, `token_type_ids` if `pairs`.

    Returns:
        Integer tensors, each (rows, length); on `meta` they have no values.
    """
    import torch

    names = ("input_ids", "attention_mask", "token_type_ids")[: 3 if pairs else 2]
    batch = {name: torch.zeros(shape, dtype=torch.long, device=device) for name in names}
    batch["attention_mask"] = torch.ones(shape, dtype=torch.long, device=device)
    return batch


def _basis(value: int, *, at: int, nodes: Iterable[int]) -> Fraction:
    """Lagrange's polynomial, at `value`, that is 1 at `at` and 0 at the other nodes."""
    others = [node for node in nodes if node != at]
    return Fraction(prod(value - node for node in others), prod(at - node for node in others))
