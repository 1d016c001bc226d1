"""Classification: a label is one of a few names or whole numbers, and a model has one logit for each class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, ClassVar

from bench.tasks.kinds.kind import Kind, Label, Score, Target

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import ArrayLike
    from torch import Tensor

_MANY = 20
"""With more classes than this whose names are whole numbers, the labels may be amounts."""


class Classes(Kind):
    """One class out of several. The loss is the cross-entropy.

    `f1` is the F1 score of the second of two classes; it is undefined if that class is neither present nor predicted.
    The Matthews coefficient of a constant answer is 0, by the convention of scikit-learn, GLUE and the published
    results on CoLA.

    >>> KIND.classes(["spam", "ham", "spam"])
    ['ham', 'spam']
    >>> KIND.target(["ham", "spam"])("spam")
    1
    >>> KIND.score([1, 0, 1], [1, 0, 0])["accuracy"]
    0.6666666666666666
    """

    name: ClassVar[str] = "classes"
    scores: ClassVar[tuple[Score, ...]] = (
        Score("accuracy", 0.0, 1.0, share_correct=True),
        Score("macro_f1", 0.0, 1.0),
        Score("f1", 0.0, 1.0),
        Score("matthews", -1.0, 1.0, constant=0.0),
    )
    examples: ClassVar[tuple[Label, ...]] = ("ham", "spam", "eggs")

    def claims(self, types: AbstractSet[type]) -> bool:
        return not any(issubclass(one, float) for one in types)

    def reader(self, types: AbstractSet[type]) -> Callable[[Label], Label]:
        return _whole if any(issubclass(one, float) for one in types) else lambda label: label

    def check(self, trained: AbstractSet[Label], held: Mapping[str, Iterable[Label]]) -> None:
        for part, labels in held.items():
            if unseen := set(labels) - trained:
                # The hub publishes test splits with -1 for every label.
                hint = ": its labels are hidden, leave that file out" if unseen == {-1} else ""
                listed = ", ".join(sorted(map(repr, unseen))[:5])
                raise ValueError(f"{part} rows have labels unseen in training, {listed}{hint}")

    def remark(self, values: AbstractSet[Label]) -> str:
        many = len(values) > _MANY and not any(isinstance(value, str) for value in values)
        doubt = "; so many whole numbers may be amounts: write them with a point (3.0) to make it a regression"
        return f"labels read as {len(values)} classes{doubt if many else ''}"

    def classes(self, labels: Iterable[Label]) -> list[Label]:
        return sorted(set(labels))  # all are of one type

    def texts(self, targets: np.ndarray, names: Sequence[str] | None) -> np.ndarray:
        import numpy as np

        return np.asarray(np.asarray(names, dtype=object)[targets], dtype=str)

    def fits(self, outputs: int) -> bool:
        return outputs > 1

    def outputs(self, classes: Sequence[Label] | None) -> int:
        return len(classes or ())

    def encode(self, targets: Sequence[Target]) -> Tensor:
        import torch

        return torch.tensor(targets, dtype=torch.int64)

    def made_up(self, shape: Sequence[int], device: torch.device | str | None = None) -> Tensor:
        import torch

        return torch.zeros(shape[0], dtype=torch.int64, device=device)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        from torch.nn import functional

        return functional.cross_entropy(logits.float(), targets)

    def losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        from torch.nn import functional

        return functional.cross_entropy(logits.float(), targets, reduction="none")

    def constant(self, targets: Tensor, outputs: int) -> Tensor:
        """Returns the logarithm of each class's share; minus infinity for a class without rows."""
        return (targets.bincount(minlength=outputs) / len(targets)).log()

    def predictions(self, logits: np.ndarray) -> np.ndarray:
        import numpy as np

        return np.asarray(logits.argmax(axis=1))

    def correct(self, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
        import numpy as np

        return np.asarray(self.predictions(logits) == targets)

    def score(self, targets: ArrayLike, outputs: ArrayLike) -> dict[str, float]:
        import numpy as np
        from sklearn.metrics import f1_score, matthews_corrcoef

        truth, given = self.truth_and_answers(targets, outputs)
        constant = bool(np.ptp(truth) == 0 or np.ptp(given) == 0)  # then scikit-learn would warn
        scores = {
            "accuracy": float((truth == given).mean()),
            "macro_f1": float(f1_score(truth, given, average="macro", zero_division=0)),
            "matthews": 0.0 if constant else float(matthews_corrcoef(truth, given)),
        }
        shape = np.shape(outputs)  # logits say how many classes there are; class indices only how many occur
        number = shape[1] if len(shape) == 2 else int(max(truth.max(), given.max())) + 1
        if number <= 2 and (truth.any() or given.any()):
            scores["f1"] = float(f1_score(truth, given, zero_division=0))
        return scores


def _whole(label: Label) -> int:
    if label != int(label):
        raise ValueError(f"label {label} is not the number of a class")
    return int(label)


KIND = Classes()
