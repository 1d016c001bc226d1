"""The contract of a kind of task: how labels are read, what a model outputs for them, and how outputs are scored.

Everything that differs between kinds is a method here, so that no other file distinguishes them. torch, numpy and
scikit-learn are imported within functions, because the command line lists kinds and scores and must start quickly.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import ArrayLike
    from torch import Tensor

Label = int | float | str
"""A label as a row has it."""
Target = int | float
"""A label as a model learns it: the index of a class, or a number."""


@dataclass(frozen=True)
class Score:
    """The declaration of a score. Higher is better.

    Attributes:
        name: its name in records and tables.
        low: the smallest value that it can have.
        high: the largest value that it can have.
        constant: its value for a model that gives the same answer for every row; None: that depends on the labels.
        share_correct: whether it is the share of correct answers. Whether such a score fell can be tested exactly
            (`bench.parts.verification`).
    """

    name: str
    low: float
    high: float
    constant: float | None = None
    share_correct: bool = False


class Kind(ABC):
    """A kind of task. It has no state: its module makes one instance and calls it `KIND`.

    Attributes:
        name: its name in tasks and records.
        scores: the scores that it computes; the first one is the headline of a task that names none.
        numeric: whether labels are amounts, so that something else can be correlated with them.
        examples: a few labels as rows may have them, at least two of them different; the contract test uses them.
    """

    name: ClassVar[str]
    scores: ClassVar[tuple[Score, ...]]
    numeric: ClassVar[bool] = False
    examples: ClassVar[tuple[Label, ...]]

    # From the labels of rows to the targets of a model.

    def claims(self, types: AbstractSet[type]) -> bool:
        """Tells whether labels of these types are of this kind if a task names none. At most one kind may say so."""
        return False

    @abstractmethod
    def reader(self, types: AbstractSet[type]) -> Callable[[Label], Label]:
        """Returns the function that converts a label to the type that this kind uses.

        The function raises a ValueError for a label that cannot be converted.

        Args:
            types: the types of all labels of a task.

        Raises:
            ValueError: labels of these types cannot be learned.
        """

    def refusal(self, label: Label) -> str | None:
        """Returns why a label cannot be learned, such as `has the label inf: labels must be finite`; None if it can."""
        if isinstance(label, float) and not math.isfinite(label):
            return f"has the label {label:.3g}: labels must be finite"
        return None

    def check(self, trained: AbstractSet[Label], held: Mapping[str, Iterable[Label]]) -> None:  # noqa: B027 - optional
        """Refuses rows that cannot be scored after training.

        Args:
            trained: the different labels of the training rows, as `reader` converts them.
            held: `dev` and `test` -> the labels of their rows.

        Raises:
            ValueError: a row cannot be scored, for example because no training row has its class.
        """

    @abstractmethod
    def remark(self, values: AbstractSet[Label]) -> str:
        """Says in one line how the labels were read, and what to do if they look like another kind.

        Args:
            values: the different labels of the training rows, as `reader` converts them.
        """

    def classes(self, labels: Iterable[Label]) -> list[Label] | None:
        """Returns the classes among these labels, in the order of their indices; None for a kind without classes."""
        return None

    def target(self, classes: Sequence[Label] | None) -> Callable[[Any], Target]:
        """Returns the function from a label to its target, given the result of `classes`."""
        if classes is None:
            return lambda label: label
        return {label: position for position, label in enumerate(classes)}.__getitem__

    def texts(self, targets: np.ndarray, names: Sequence[str] | None) -> np.ndarray:
        """Returns the labels of these targets as text, (examples,).

        Args:
            targets: (examples,).
            names: the names of the classes in the order of their indices; None for a kind without classes.
        """
        return targets.astype(str)

    # The head of the model, and its loss.

    def fits(self, outputs: int) -> bool:
        """Tells whether a head with this many outputs is of this kind if there is no task. At most one may say so."""
        return False

    @abstractmethod
    def outputs(self, classes: Sequence[Label] | None) -> int:
        """Returns the number of outputs of a head for these classes; 0 if the kind has classes and None is given."""

    @abstractmethod
    def encode(self, targets: Sequence[Target]) -> Tensor:
        """Returns the targets as a tensor with the type that `loss` takes, (examples,)."""

    @abstractmethod
    def made_up(self, shape: Sequence[int], device: torch.device | str | None = None) -> Tensor:
        """Makes targets for a batch whose labels do not matter, for example one that is only timed.

        Args:
            shape: (rows, tokens) of the batch. A kind with one target for each row uses the number of rows only.
            device: the device of the tensor.
        """

    @abstractmethod
    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Computes the training loss of a batch, a scalar in float32.

        Args:
            logits: (batch, outputs), of any floating type.
            targets: (batch,), from `encode` or `made_up`.
        """

    @abstractmethod
    def losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Computes the loss of each example, (batch,). Their mean is `loss`."""

    @abstractmethod
    def constant(self, targets: Tensor, outputs: int) -> Tensor:
        """Computes the logits, (outputs,), with the smallest loss if all examples get the same logits."""

    # From the outputs of a model to answers and scores.

    @abstractmethod
    def predictions(self, logits: np.ndarray) -> np.ndarray:
        """Turns logits, (examples, outputs), into answers, (examples,): class indices or numbers."""

    def correct(self, logits: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
        """Tells which answers are right, (examples,) of bool; None for a kind whose answers are not right or wrong."""
        return None

    @abstractmethod
    def score(self, targets: ArrayLike, outputs: ArrayLike) -> dict[str, float]:
        """Computes name -> score for the scores that the kind declares. One that is undefined here is left out.

        Args:
            targets: (examples,).
            outputs: (examples, outputs) logits, or the answers themselves, (examples,).

        Raises:
            ValueError: there are no examples, the shapes do not fit, or an output is not finite.
        """

    @property
    def headline(self) -> str:
        """The name of the headline score of a task that names none."""
        return self.scores[0].name

    def truth_and_answers(self, targets: ArrayLike, outputs: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Converts targets and outputs to two arrays of shape (examples,), and checks them: the first step of `score`.

        Raises:
            ValueError: there are no examples, the shapes do not fit, or an output is not finite.
        """
        import numpy as np

        truth, given = np.asarray(targets), np.asarray(outputs)
        if not np.isfinite(given).all():
            raise ValueError("the model's outputs are not finite: training diverged, try a lower learning rate")
        if given.ndim == 2:
            given = self.predictions(given)
        if not truth.size or truth.shape != given.shape:
            raise ValueError(f"outputs of shape {np.shape(outputs)} cannot be scored on labels {truth.shape}")
        return truth, given
