"""Linear probing: trains only the head. What any other method must beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from methods.kit.base import HEAD_RATES, Method

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class Head(Method):
    """Trains the head on the frozen backbone: what the pretrained features alone reach."""

    name: ClassVar[str] = "head"
    starts_as_identity: ClassVar[bool] = True
    trains_backbone: ClassVar[bool] = False

    @property
    def space(self) -> Mapping[str, Any]:
        return {"head_learning_rate": HEAD_RATES}

    def adapt(self, model: PreTrainedModel) -> None:
        """Nothing to insert: the harness trains the head for every method."""
