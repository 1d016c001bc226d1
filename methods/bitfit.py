"""BitFit: only the bias terms are trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from methods.base import Method

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class BitFit(Method):
    """Trains every bias of the backbone, those of the layer norms, embeddings and pooler included."""

    name: ClassVar[str] = "bitfit"
    thaws: ClassVar[bool] = True
    paper: ClassVar[str] = "Ben Zaken et al. 2022, arXiv 2106.10199"

    def adapt(self, model: PreTrainedModel) -> None:
        biases = [parameter for name, parameter in model.named_parameters() if name.endswith("bias")]
        if not biases:
            raise ValueError(f"{type(model).__name__} has no bias to train")
        for bias in biases:
            bias.requires_grad_(True)
