"""Gates: how strongly a part acts, decided for each example (Mao et al. 2022, section 3).

A module of gates reads one tensor and yields the values of all gates that read it, (batch, count). It
is called as a module, so a forward hook on it can record the values or replace them; the parts see what
the hook leaves. A `Reading` hands the values of the current forward pass to the parts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TokenMean:
    """The weights of a mean over tokens, set at the backbone's entry for the pass that follows.

    With `masked` padding counts nothing, so a value cannot depend on how far a batch was padded. Without
    it every position counts the same: what the authors' released code does.
    """

    weights: Tensor  # (batch, 1, tokens), rows sum to 1; (1, 1, tokens) if all rows are alike

    def __init__(self, *, masked: bool) -> None:
        self.masked = masked

    def attach(self, model: PreTrainedModel) -> None:
        """Makes every forward pass of `model` set the weights first."""
        model.register_forward_pre_hook(self._enter, with_kwargs=True)

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = args[0] if args else kwargs.get("input_ids")
        if ids is None:
            ids = kwargs["inputs_embeds"]
        mask: Tensor | None = args[1] if len(args) > 1 else kwargs.get("attention_mask")
        dtype = next(module.parameters()).dtype
        if mask is None or not self.masked:
            tokens = ids.shape[1]
            self.weights = torch.full((1, 1, tokens), 1 / tokens, dtype=dtype, device=ids.device)
        else:
            counted = mask.to(dtype)
            self.weights = (counted / counted.sum(dim=1, keepdim=True)).unsqueeze(1)


class Gates(nn.Module, ABC):
    """`count` gates that read the same hidden states."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.width = width
        self.count = count

    @abstractmethod
    def forward(self, hidden: Tensor, mean: Tensor) -> Tensor:
        """Computes the gates.

        Args:
            hidden: (batch, tokens, width).
            mean: (batch or 1, 1, tokens), the weights of the mean over tokens.

        Returns:
            (batch, count).
        """


class SigmoidGates(Gates):
    """`G = mean over tokens of sigmoid(h W + b)`; weights N(0, 0.02), bias 0: values start near 0.5."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__(width, count)
        self.weight = nn.Parameter(torch.empty(count, width).normal_(std=0.02))
        self.bias = nn.Parameter(torch.zeros(count))

    def forward(self, hidden: Tensor, mean: Tensor) -> Tensor:
        scores = functional.linear(hidden, self.weight, self.bias).sigmoid()  # (batch, tokens, count)
        return (mean.to(scores.dtype) @ scores).squeeze(1)


class ConstantGates(Gates):
    """One learned number a gate, the same for every example: what is left when a gate reads nothing."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__(width, count)
        self.bias = nn.Parameter(torch.zeros(count))

    def forward(self, hidden: Tensor, mean: Tensor) -> Tensor:
        return self.bias.sigmoid().expand(len(hidden), -1)


FORMS: dict[str, type[Gates]] = {"sigmoid": SigmoidGates, "constant": ConstantGates}
"""What a method's field `gate` may say, besides `none`."""


class Reading:
    """The values of one module of gates in the current forward pass."""

    values: Tensor  # (batch, count)

    def __init__(self, gates: Gates, mean: TokenMean) -> None:
        self.gates = gates
        self.mean = mean

    def take(self, hidden: Tensor) -> None:
        """Computes the gates from `hidden` (batch, tokens, width)."""
        self.values = self.gates(hidden, self.mean.weights)

    def column(self, index: int) -> Callable[[], Tensor]:
        """A function that reads the current values of one gate, (batch,)."""
        return lambda: self.values[:, index]
