"""Regression: a label is a real number, and a model has one output, a real number too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, ClassVar

from bench.tasks.kinds.kind import Kind, Label, Score, Target

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import ArrayLike
    from torch import Tensor

LARGEST_LABEL = 1e15
"""Up to this size, the sum of the squared errors of a batch and the squares of their gradients fit into float32."""
_FEW = 10
"""If labels have no more different values than this, all of them whole, they may be classes."""


class Regression(Kind):
    """A real number. The loss is the mean squared error.

    The scores are correlations. They are undefined, and left out, if all labels or all outputs are equal.

    >>> KIND.reader({int, float})(1)
    1.0
    >>> KIND.refusal(float("inf"))
    'has the label inf: labels must be finite'
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

    def reader(self, types: AbstractSet[type]) -> Callable[[Label], Label]:
        if str in types:
            raise ValueError("labels are strings, a regression needs numbers")
        return float

    def refusal(self, label: Label) -> str | None:
        reason = super().refusal(label)
        if reason is not None or isinstance(label, str) or abs(label) <= LARGEST_LABEL:
            return reason
        # An integer may be too large to be formatted as a float.
        words = f"label {label:.3g}" if isinstance(label, float) else f"a label of {len(str(abs(label)))} digits"
        return (
            f"has the {words}: a regression takes labels up to {LARGEST_LABEL:.0e} either way, "
            "whose squared errors float32 can hold; rescale them"
        )

    def remark(self, values: AbstractSet[Label]) -> str:
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
        """Returns the mean of the targets."""
        return targets.mean().view(1)

    def predictions(self, logits: np.ndarray) -> np.ndarray:
        return logits.squeeze(axis=1)

    def score(self, targets: ArrayLike, outputs: ArrayLike) -> dict[str, float]:
        import numpy as np
        from scipy.stats import pearsonr, spearmanr

        truth, given = self.truth_and_answers(targets, outputs)
        if np.ptp(truth) == 0 or np.ptp(given) == 0:
            return {}
        truth, given = truth.astype(float), given.astype(float)
        return {
            "spearman": float(spearmanr(truth, given).statistic),
            "pearson": float(pearsonr(truth, given).statistic),
        }


KIND = Regression()
