"""Regression: a label is a real number, and so is the model's one output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, ClassVar

from bench.tasks.kinds.kind import Kind, Label, Score, Target, answers, refuse_infinite

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import ArrayLike
    from torch import Tensor

LARGEST_LABEL = 1e15
"""Up to this size float32 holds the sum of a batch's squared errors, and the squares of their gradients."""
_FEW = 10
"""No more different values than this, all whole, may be classes."""


class Regression(Kind):
    """A real number. The loss is the mean squared error; correlations with a constant are undefined.

    >>> KIND.read({"train": [1, 2.5]})
    {'train': [1.0, 2.5]}
    >>> round(KIND.score([1.0, 2.0, 3.0], [[0.1], [0.2], [0.9]])["spearman"], 6)
    1.0
    """

    name: ClassVar[str] = "regression"
    scores: ClassVar[tuple[Score, ...]] = (
        Score("spearman", -1.0, 1.0, constant=0.0),
        Score("pearson", -1.0, 1.0, constant=0.0),
    )
    numeric: ClassVar[bool] = True
    examples: ClassVar[tuple[Label, ...]] = (-1.5, 0.0, 0.25, 3.0)

    def claims(self, types: AbstractSet[type]) -> bool:
        return any(issubclass(one, float) for one in types)

    def read(self, parts: Mapping[str, Sequence[Label]]) -> dict[str, list[Label]]:
        if any(isinstance(label, str) for labels in parts.values() for label in labels):
            raise ValueError("labels are strings, a regression needs numbers")
        for part, labels in parts.items():
            refuse_infinite(part, labels)
            for row, label in enumerate(labels, start=1):
                assert not isinstance(label, str)
                if abs(label) > LARGEST_LABEL:
                    said = f"label {label:.3g}" if isinstance(label, float) else f"a label of {_digits(label)} digits"
                    raise ValueError(
                        f"{part} row {row} has the {said}: a regression takes labels up to {LARGEST_LABEL:.0e} either "
                        "way, whose squared errors float32 can hold; rescale them"
                    )
        return {part: [float(label) for label in labels] for part, labels in parts.items()}

    def remark(self, labels: Sequence[Label]) -> str:
        values = set(labels)
        few = len(values) <= _FEW and all(value == int(value) for value in values)
        doubt = f"; only {len(values)} whole values: write them without a point to make them classes" if few else ""
        return f"labels read as numbers (a regression), because some have a decimal point{doubt}"

    def fits(self, outputs: int) -> bool:
        return outputs == 1

    def outputs(self, classes: Sequence[Label] | None) -> int:
        return 1

    def encode(self, targets: Sequence[Target]) -> Tensor:
        import torch

        return torch.tensor(targets, dtype=torch.float32)

    def made_up(self, shape: Sequence[int], device: torch.device | str | None = None) -> Tensor:
        import torch

        return torch.zeros(shape[0], dtype=torch.float32, device=device)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        from torch.nn import functional

        return functional.mse_loss(logits.float().squeeze(-1), targets)

    def losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        from torch.nn import functional

        return functional.mse_loss(logits.float().squeeze(-1), targets, reduction="none")

    def constant(self, targets: Tensor, outputs: int) -> Tensor:
        """The mean."""
        return targets.mean().view(1)

    def predictions(self, logits: np.ndarray) -> np.ndarray:
        return logits.squeeze(axis=1)

    def score(self, targets: ArrayLike, outputs: ArrayLike) -> dict[str, float]:
        import numpy as np
        from scipy.stats import pearsonr, spearmanr

        truth, given = answers(self, targets, outputs)
        if np.ptp(truth) == 0 or np.ptp(given) == 0:
            return {}
        truth, given = truth.astype(float), given.astype(float)
        return {
            "spearman": float(spearmanr(truth, given).statistic),
            "pearson": float(pearsonr(truth, given).statistic),
        }


def _digits(label: int) -> int:
    return len(str(abs(label)))


KIND = Regression()
