"""Linear probing: trains only the head. What any other method must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from methods.kit.base import Method

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class Head(Method):
    """Trains the head on the frozen backbone: what the pretrained features alone reach."""

    name: ClassVar[str] = "head"
    starts_as_identity: ClassVar[bool] = True
    trains_backbone: ClassVar[bool] = False

    def adapt(self, model: PreTrainedModel) -> None:
        """Nothing to insert: the harness trains the head for every method."""
