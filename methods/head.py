"""The floor of every comparison: only the head is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from methods.kit.base import Method

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class Head(Method):
    """Leaves the backbone as it is: a linear probe."""

    name: ClassVar[str] = "head"
    starts_as_identity: ClassVar[bool] = True
    trains_backbone: ClassVar[bool] = False

    def adapt(self, model: PreTrainedModel) -> None:
        """Nothing to insert: the harness trains the head for every method."""
