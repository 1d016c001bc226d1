"""Full fine-tuning: trains every weight of the backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Gt

from methods.kit.base import THAWED_RATES, Method

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class Full(Method):
    """Trains every weight of the backbone (Devlin et al. 2019, section 3.2).

    Its learning rate is small, so that it does not destroy what pretraining learned; the head, which starts at
    random, has the rate of the other methods.
    """

    name: ClassVar[str] = "full"
    thaws: ClassVar[bool] = True
    paper: ClassVar[str] = "Devlin et al. 2019, arXiv 1810.04805"

    learning_rate: Annotated[float, Gt(0)] = 5e-5
    head_learning_rate: Annotated[float, Gt(0)] | None = 1e-3

    @property
    def space(self) -> Mapping[str, Any]:
        return {"learning_rate": THAWED_RATES}

    def adapt(self, model: PreTrainedModel) -> None:
        for parameter in model.parameters():
            parameter.requires_grad_(True)
