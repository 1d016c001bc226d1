"""The same answer for every example: the lowest score that a comparison should show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from methods.kit.base import Classifier, Method

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Constant(Classifier):
    """Gives the same logits for every input. It holds the backbone but never calls it.

    Args:
        backbone: the base model.
        logits: (outputs,).
    """

    logits: Tensor

    def __init__(self, backbone: PreTrainedModel, logits: Tensor) -> None:
        super().__init__(backbone, outputs=len(logits))
        self.register_buffer("logits", logits)

    def head_parameters(self) -> dict[str, nn.Parameter]:
        """Empty: nothing is trained."""
        return {}

    def forward(self, **batch: Tensor) -> Tensor:
        return self.logits.expand(len(batch["input_ids"]), -1)


@dataclass(frozen=True, kw_only=True)
class Majority(Method):
    """Answers with the most frequent class of the training labels, or with their mean; it reads no text."""

    name: ClassVar[str] = "majority"
    trains_backbone: ClassVar[bool] = False

    @property
    def space(self) -> Mapping[str, Any]:
        """Nothing is trained, so there is nothing to search."""
        return {}

    def adapt(self, model: PreTrainedModel) -> None:
        """Inserts nothing."""

    def begin(self, classifier: Classifier, labels: Tensor) -> Classifier:
        """Replaces the head by constant logits: the log of the frequency of each class, or the mean of the labels."""
        return Constant(classifier.backbone, classifier.constant(labels))
