"""The contract of a kind of task: how labels are read, what a model gives for them, how its answers are scored.

A kind answers every question whose answer depends on what is learned, so that no other file has to ask. Nothing
here imports torch, numpy or scikit-learn before a function needs it: the command line lists kinds and scores.
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
"""What stands in a row."""
Target = int | float
"""What a model learns for a row: the index of a class, or a number."""


@dataclass(frozen=True)
class Score:
    """A score of a kind, and what values it can have. Higher is better.

    Attributes:
        name: as records and tables call it.
        low: the least value.
        high: the greatest value.
        constant: the value of a model that gives every row the same answer; None where it depends on the labels.
        share_correct: whether it is the share of correct answers, whose fall has an exact test
            (`bench.parts.verification`).
    """

    name: str
    low: float
    high: float
    constant: float | None = None
    share_correct: bool = False


class Kind(ABC):
    """A kind of task. A kind has no state: its module makes one and calls it `KIND`.

    Attributes:
        name: as a task names it and as records hold it.
        scores: what is computed; the first is the headline of a task that names none.
        numeric: whether labels are numbers whose size means something, so that they can be correlated.
        examples: a few labels as rows may have them, two different ones at least; the contract test draws from them.
    """

    name: ClassVar[str]
    scores: ClassVar[tuple[Score, ...]]
    numeric: ClassVar[bool] = False
    examples: ClassVar[tuple[Label, ...]]

    # Labels of rows.

    def claims(self, types: AbstractSet[type]) -> bool:
        """Whether labels of these types are of this kind where a task does not say. At most one kind may claim them."""
        return False

    @abstractmethod
    def reader(self, types: AbstractSet[type]) -> Callable[[Label], Label]:
        """The function that brings a label to the one type that this kind has; it raises ValueError where it cannot.

        Args:
            types: of all labels of a task.

        Raises:
            ValueError: labels of these types cannot be learned.
        """

    def refusal(self, label: Label) -> str | None:
        """Why a label cannot be learned, such as `has the label inf: labels must be finite`; None if it can."""
        if isinstance(label, float) and not math.isfinite(label):
            return f"has the label {label:.3g}: labels must be finite"
        return None

    def check(self, known: AbstractSet[Label], held: Mapping[str, Iterable[Label]]) -> None:  # noqa: B027 - optional
        """Refuses rows that cannot be scored after training.

        Args:
            known: the different labels of the training rows, as the `reader` gives them.
            held: `dev` and `test` -> the labels of their rows.

        Raises:
            ValueError: such as a class that no training row has.
        """

    @abstractmethod
    def remark(self, values: AbstractSet[Label]) -> str:
        """How labels were read, in one line, with a doubt if they look like another kind.

        Args:
            values: the different labels of the training rows, as the `reader` gives them.
        """

    def classes(self, labels: Iterable[Label]) -> list[Label] | None:
        """The classes among these labels, in the order of their indices; None where labels are learned as they are."""
        return None

    def target(self, classes: Sequence[Label] | None) -> Callable[[Any], Target]:
        """The function from a label to what a model learns for it; `classes` as the method of this name gives them."""
        if classes is None:
            return lambda label: label
        return {label: position for position, label in enumerate(classes)}.__getitem__

    def texts(self, targets: np.ndarray, names: Sequence[str] | None) -> np.ndarray:
        """The labels of these targets as text, (examples,); `names` are those of the classes, by index."""
        return targets.astype(str)

    # Model and loss.

    def fits(self, outputs: int) -> bool:
        """Whether a head with so many outputs is of this kind where no task is known. At most one kind may say so."""
        return False

    @abstractmethod
    def outputs(self, classes: Sequence[Label] | None) -> int:
        """How many outputs a head for these classes has; 0 where the kind has classes and none are given."""

    @abstractmethod
    def encode(self, targets: Sequence[Target]) -> Tensor:
        """The targets as a tensor of the type that `loss` takes, (examples,)."""

    @abstractmethod
    def made_up(self, shape: Sequence[int], device: torch.device | str | None = None) -> Tensor:
        """Targets for a batch whose labels do not matter, such as one that is timed.

        Args:
            shape: (rows, tokens) of the batch. A kind with one target a row looks at the rows alone.
            device: where the tensor is made.
        """

    @abstractmethod
    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The training loss of a batch, a scalar in float32.

        Args:
            logits: (batch, outputs), of any floating type.
            targets: (batch,), as `encode` or `made_up` gives them.
        """

    @abstractmethod
    def losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of each example, (batch,); their mean is `loss`."""

    @abstractmethod
    def constant(self, targets: Tensor, outputs: int) -> Tensor:
        """The logits, (outputs,), that fit the training targets best if every example gets the same ones."""

    # Answers.

    @abstractmethod
    def predictions(self, logits: np.ndarray) -> np.ndarray:
        """The answers, (examples,), in logits of shape (examples, outputs)."""

    def correct(self, logits: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
        """Whether each answer is right, (examples,) of bool; None where no answer is right or wrong."""
        return None

    @abstractmethod
    def score(self, targets: ArrayLike, outputs: ArrayLike) -> dict[str, float]:
        """The scores by name, out of those that the kind declares. One that is undefined on these rows is left out.

        Args:
            targets: (examples,).
            outputs: (examples, outputs) logits, or the answers themselves, (examples,).

        Raises:
            ValueError: no examples, shapes that do not fit, or outputs that are not finite.
        """

    @property
    def headline(self) -> str:
        """The score of a task that names none."""
        return self.scores[0].name


def truth_and_answers(kind: Kind, targets: ArrayLike, outputs: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Targets and answers as two arrays of one shape, (examples,): what `Kind.score` starts with.

    Raises:
        ValueError: as `Kind.score` says.
    """
    import numpy as np

    truth, given = np.asarray(targets), np.asarray(outputs)
    if not np.isfinite(given).all():
        raise ValueError("the model's outputs are not finite: training diverged, try a lower learning rate")
    if given.ndim == 2:
        given = kind.predictions(given)
    if not truth.size or truth.shape != given.shape:
        raise ValueError(f"outputs of shape {np.shape(outputs)} cannot be scored on labels {truth.shape}")
    return truth, given
