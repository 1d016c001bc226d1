"""BitFit: trains only the biases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from methods.kit.base import Method

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class BitFit(Method):
    """Trains b in every `W x + b` of the backbone, and the biases of its layer norms.

    BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked Language-models, Ben Zaken et al. 2022,
    arXiv 2106.10199, section 3. Biases in embeddings and pooler are trained too.
    """

    name: ClassVar[str] = "bitfit"
    thaws: ClassVar[bool] = True
    paper: ClassVar[str] = "Ben Zaken et al. 2022, arXiv 2106.10199"

    def unsupported(self, config: PretrainedConfig) -> str | None:
        from transformers import AutoModel

        with torch.device("meta"):
            model = AutoModel.from_config(config)
        if any(name.endswith("bias") for name, _ in model.named_parameters()):
            return None
        return f"{config.model_type} has no bias to train"

    def adapt(self, model: PreTrainedModel) -> None:
        biases = [parameter for name, parameter in model.named_parameters() if name.endswith("bias")]
        if not biases:
            raise ValueError(f"{type(model).__name__} has no bias to train")
        for bias in biases:
            bias.requires_grad_(True)

    def idle(
        self, model: PreTrainedModel, pretrained: Mapping[str, Tensor], run: Callable[[], object]
    ) -> dict[str, float]:
        """The share of biases that moved by less than a hundredth of the median movement, as `bias_unmoved_share`."""
        moved = torch.cat(
            [
                (parameter.detach() - pretrained[name]).abs().flatten()
                for name, parameter in model.named_parameters()
                if parameter.requires_grad and name in pretrained
            ]
        )
        return {"bias_unmoved_share": float((moved < 0.01 * moved.median()).float().mean())}
