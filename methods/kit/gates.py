"""Gates: how strongly a part acts, decided for each example (Mao et al. 2022, section 3).

A module of gates reads one tensor and yields the values of all gates that read it, (batch, count). It
is called as a module, so a forward hook on it can record the values or replace them; the parts see what
the hook leaves. A `Reading` hands the values of the current forward pass to the parts.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from methods.kit.loading import load_file

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


class Gate(nn.Module, ABC):
    """A form of gate. One module computes all `count` gates that read the same hidden states.

    Args:
        width: of the hidden states.
        count: how many gates.
    """

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

    def active_probability(self) -> Tensor | None:
        """Probability that each gate of the last forward pass is not zero, (batch, count).

        None for a form whose gates are never exactly zero. What is returned may enter the loss.
        """
        return None


class SigmoidGate(Gate):
    """`G = mean over tokens of sigmoid(h W + b)`; weights N(0, 0.02), bias 0: values start near 0.5."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__(width, count)
        self.weight = nn.Parameter(torch.empty(count, width).normal_(std=0.02))
        self.bias = nn.Parameter(torch.zeros(count))

    def forward(self, hidden: Tensor, mean: Tensor) -> Tensor:
        scores = functional.linear(hidden, self.weight, self.bias).sigmoid()  # (batch, tokens, count)
        return (mean.to(scores.dtype) @ scores).squeeze(1)


class ConstantGate(Gate):
    """One learned number a gate, the same for every example: what is left when a gate reads nothing."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__(width, count)
        self.bias = nn.Parameter(torch.zeros(count))

    def forward(self, hidden: Tensor, mean: Tensor) -> Tensor:
        return self.bias.sigmoid().expand(len(hidden), -1)


class HardConcreteGate(Gate):
    """Gates that are exactly 0 or 1 with positive probability (Louizos et al. 2018, eq. 10 to 13).

    `log alpha = mean over tokens of h W + b`; in training a gate is a stretched and clipped sample of the
    concrete distribution, in evaluation the clipped stretched mean. `active_probability` is eq. 12.
    """

    BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1

    def __init__(self, width: int, count: int) -> None:
        super().__init__(width, count)
        self.weight = nn.Parameter(torch.empty(count, width).normal_(std=0.02))
        self.bias = nn.Parameter(torch.zeros(count))
        self.log_alpha: Tensor | None = None

    def forward(self, hidden: Tensor, mean: Tensor) -> Tensor:
        scores = functional.linear(hidden, self.weight, self.bias)
        log_alpha = (mean.to(scores.dtype) @ scores).squeeze(1)  # (batch, count)
        self.log_alpha = log_alpha
        if self.training:
            uniform = torch.rand_like(log_alpha).clamp(1e-6, 1 - 1e-6)
            concrete = ((uniform.log() - (1 - uniform).log() + log_alpha) / self.BETA).sigmoid()
        else:
            concrete = log_alpha.sigmoid()
        return (concrete * (self.ZETA - self.GAMMA) + self.GAMMA).clamp(0, 1)

    def active_probability(self) -> Tensor | None:
        if self.log_alpha is None:
            return None
        return (self.log_alpha - self.BETA * math.log(-self.GAMMA / self.ZETA)).sigmoid()


FORMS: dict[str, type[Gate]] = {"sigmoid": SigmoidGate, "constant": ConstantGate, "hard": HardConcreteGate}
"""The shipped forms by name."""


def form(name: str) -> type[Gate]:
    """The form called `name`: shipped, an entry point of group `tunebench.gates`, or `file.py:Class`.

    Raises:
        ValueError: there is no such form, or it is no `Gate`.
    """
    if name in FORMS:
        return FORMS[name]
    path, _, attribute = name.rpartition(":")
    if path.endswith(".py"):
        found = getattr(load_file(Path(path)), attribute, None)
    else:
        found = next((entry.load() for entry in entry_points(group="tunebench.gates", name=name)), None)
    if not (isinstance(found, type) and issubclass(found, Gate)):
        known = ", ".join(["none", *FORMS])
        raise ValueError(f"gate: {name!r} is none of {known}, and no file.py:Class that is a bench.Gate")
    return found


class Reading:
    """The values of one gate module in the current forward pass."""

    values: tuple[Tensor, ...]  # of each gate, (batch,)

    def __init__(self, gate: Gate, mean: TokenMean) -> None:
        self.gate = gate
        self.mean = mean
        self.retire: Callable[[], None] = lambda: None
        """Takes the gate module out of the model, once no part reads it any more."""

    def take(self, hidden: Tensor) -> None:
        """Computes the gates from `hidden` (batch, tokens, width)."""
        self.values = self.gate(hidden, self.mean.weights).unbind(1)

    def reader(self, index: int) -> GateReader:
        """What a part reads its gate by."""
        return GateReader(self, index)


class GateReader:
    """Reads one gate's values for the examples of the current forward pass.

    Attributes:
        threshold: a part is not computed for examples whose value is not above it; None computes all.
    """

    def __init__(self, reading: Reading, index: int) -> None:
        self.reading = reading
        self.index = index
        self.threshold: float | None = None

    def __call__(self) -> Tensor:
        """The values, (batch,)."""
        return self.reading.values[self.index]


def where_open(
    gate: GateReader | None, closed: Callable[[], Tensor], opened: Callable[[Tensor | None], Tensor]
) -> Tensor:
    """Conditional computation: does a part's work only for the examples whose gate is above its threshold.

    Args:
        gate: the part's gate; None, or one without threshold, does the work for all.
        closed: what the part's site yields without the part, for the whole batch.
        opened: what it yields with the part, for the rows given (None: all), in their order.

    Returns:
        The site's output for the whole batch, as if closed gates were exactly shut.
    """
    if gate is None or gate.threshold is None:
        return opened(None)
    rows = (gate() > gate.threshold).nonzero().squeeze(1)
    if len(rows) == len(gate()):
        return opened(None)
    output = closed()
    return output.index_copy(0, rows, opened(rows)) if len(rows) else output
