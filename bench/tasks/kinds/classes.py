"""Classes: a label is one of a few names or whole numbers, and the model gives a logit for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, ClassVar

from bench.tasks.kinds.kind import Kind, Label, Score, Target, truth_and_answers

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import ArrayLike
    from torch import Tensor

_MANY = 20
"""More classes than this, named by whole numbers, may be amounts."""


class Classes(Kind):
    """One class out of several. The loss is cross-entropy.

    `f1` is that of the second of two classes; it is undefined where that class is neither present nor predicted.
    Matthews of a constant is 0, the convention of scikit-learn, GLUE and the published CoLA tables.

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

    def check(self, known: AbstractSet[Label], held: Mapping[str, Iterable[Label]]) -> None:
        for part, labels in held.items():
            if unseen := set(labels) - known:
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

        found: np.ndarray = np.asarray(names, dtype=object)[targets].astype(str)
        return found

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
        """The logarithms of the classes' shares; minus infinity for a class that no row has."""
        return (targets.bincount(minlength=outputs) / len(targets)).log()

    def predictions(self, logits: np.ndarray) -> np.ndarray:
        found: np.ndarray = logits.argmax(axis=1)
        return found

    def correct(self, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.predictions(logits) == targets
        return found

    def score(self, targets: ArrayLike, outputs: ArrayLike) -> dict[str, float]:
        import numpy as np
        from sklearn.metrics import f1_score, matthews_corrcoef

        truth, given = truth_and_answers(self, targets, outputs)
        constant = bool(np.ptp(truth) == 0 or np.ptp(given) == 0)
        scores = {
            "accuracy": float((truth == given).mean()),
            "macro_f1": float(f1_score(truth, given, average="macro", zero_division=0)),
            "matthews": 0.0 if constant else float(matthews_corrcoef(truth, given)),
        }
        shape = np.shape(outputs)
        number = shape[1] if len(shape) == 2 else int(max(truth.max(), given.max())) + 1
        if number <= 2 and (truth.any() or given.any()):
            scores["f1"] = float(f1_score(truth, given, zero_division=0))
        return scores


def _whole(label: Label) -> int:
    if label != int(label):
        raise ValueError(f"label {label} is not the number of a class")
    return int(label)


KIND = Classes()
