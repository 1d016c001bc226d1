"""Gates: how strongly a part acts, decided for each example (Mao et al. 2022, section 3).

A gate module reads one tensor and computes the values of all gates that read this tensor, (batch, count). It is
called as a module, so that a forward hook on it can record its values or replace them; what the hook returns is what
acts. A `Reading` keeps the values of the current forward pass, and each part gets its own gate by a `GateReader`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from methods.kit.loading import load_file
from methods.kit.parts import Restore

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TokenMean:
    """The weights of a mean over tokens, which are set at the start of each forward pass of the backbone.

    Args:
        masked: whether padding has weight 0, so that a gate cannot depend on how far a batch was padded. Without it
            every position has the same weight, as in the code that the authors of UniPELT released.

    Attributes:
        weights: (batch, 1, tokens), each row with sum 1; (1, 1, tokens) where all rows are alike.
    """

    weights: Tensor

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
    """The contract of a form of gate. One module computes all gates that read the same hidden states.

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

        None for a form whose gates are never exactly zero. The loss may contain it, so gradients pass through it.
        """
        return None


class SigmoidGate(Gate):
    """`g = mean over tokens of sigmoid(W h + b)` (Mao et al. 2022, section 3.2).

    Weights start as N(0, 0.02) and biases as 0, so that gates start near 0.5.
    """

    def __init__(self, width: int, count: int) -> None:
        super().__init__(width, count)
        self.weight = nn.Parameter(torch.empty(count, width).normal_(std=0.02))
        self.bias = nn.Parameter(torch.zeros(count))

    def forward(self, hidden: Tensor, mean: Tensor) -> Tensor:
        scores = functional.linear(hidden, self.weight, self.bias).sigmoid()  # (batch, tokens, count)
        return (mean.to(scores.dtype) @ scores).squeeze(1)


class ConstantGate(Gate):
    """`g = sigmoid(b)`: one learned number for each gate, the same for every example, since it reads nothing."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__(width, count)
        self.bias = nn.Parameter(torch.zeros(count))

    def forward(self, hidden: Tensor, mean: Tensor) -> Tensor:
        return self.bias.sigmoid().expand(len(hidden), -1)


class HardConcreteGate(Gate):
    """Gates that are exactly 0 or 1 with positive probability: the hard concrete distribution.

    Learning Sparse Neural Networks through L0 Regularization, Louizos et al. 2018, arXiv 1712.01312, equations 10 to
    13. `log alpha = mean over tokens of W h + b`. In training a gate is a sample of the concrete distribution, in
    evaluation sigmoid(log alpha); both are stretched to (GAMMA, ZETA) and clipped to [0, 1]. `active_probability` is
    equation 12.
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
            uniform = torch.rand_like(log_alpha).clamp(1e-6, 1 - 1e-6)  # neither logarithm below is infinite
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
        gate = getattr(load_file(Path(path)), attribute, None)
    else:
        gate = next((entry.load() for entry in entry_points(group="tunebench.gates", name=name)), None)
    if not (isinstance(gate, type) and issubclass(gate, Gate)):
        forms = ", ".join(["none", *FORMS])
        raise ValueError(f"gate: {name!r} is none of {forms}, and no file.py:Class that is a bench.Gate")
    return gate


class Reading:
    """The values of one gate module in the current forward pass.

    Args:
        gate: computes the values. It becomes the submodule `gates` of `home`.
        mean: the weights of its mean over tokens.
        home: where the gate module is kept, so that it is trained and stored.
        reads: the module whose input the gate reads, (batch, tokens, width): `home` itself if None.

    Attributes:
        values: one tensor (batch,) for each gate of the module.
    """

    values: tuple[Tensor, ...]

    def __init__(self, gate: Gate, mean: TokenMean, *, home: nn.Module, reads: nn.Module | None = None) -> None:
        self.gate = gate
        self.mean = mean
        self._home = home
        home.add_module("gates", gate)
        self._handle = (home if reads is None else reads).register_forward_pre_hook(self._enter, with_kwargs=True)

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Computes the gates from the first input of the module that they read.

        Raises:
            ValueError: the gate returned another shape than (batch, count).
        """
        hidden = args[0] if args else kwargs["hidden_states"]
        values = self.gate(hidden, self.mean.weights)
        if values.shape != (len(hidden), self.gate.count):
            needed = f"({len(hidden)}, {self.gate.count}), one number an example and gate"
            raise ValueError(f"gate {type(self.gate).__name__} returned shape {tuple(values.shape)}, not {needed}")
        self.values = values.unbind(1)

    def retire(self) -> None:
        """Takes the gate module out of the model, once no part reads it any more."""
        self._handle.remove()
        self._home._modules.pop("gates")


class Gated(Protocol):
    """A module that adds something to what the frozen model computes and whose gate scales this.

    Attributes:
        gate: its values multiply what is added; None adds it as it is.
    """

    gate: GateReader | None

    def base(self, *inputs: Any, **settings: Any) -> Tensor:
        """What `forward` yields for the same inputs when nothing is added."""

    def forward(self, *inputs: Any, **settings: Any) -> Tensor:
        """`base` and what is added to it, (batch, ...); each tensor among the inputs has the examples first."""


class GateReader:
    """Reads one gate's values for the examples of the current forward pass.

    Args:
        reading: of the module that computes the gate.
        index: which of the module's gates.

    Attributes:
        rows: the examples whose values are read, (rows,); None for all.
    """

    rows: Tensor | None = None

    def __init__(self, reading: Reading, index: int) -> None:
        self.reading = reading
        self.index = index
        self._gated: list[Gated] = []

    @property
    def module(self) -> Gate:
        """The module that computes the gate, together with others that read the same hidden states."""
        return self.reading.gate

    @property
    def mean(self) -> TokenMean:
        """The weights of the mean over tokens that this gate takes."""
        return self.reading.mean

    def __call__(self) -> Tensor:
        """The values, (batch,)."""
        values = self.reading.values[self.index]
        return values if self.rows is None else values[self.rows]

    def attach(self, module: Gated) -> None:
        """Makes this the gate of `module`; one gate may serve several modules."""
        module.gate = self
        self._gated.append(module)

    def skip_closed(self, threshold: float) -> Restore:
        """Conditional computation: the modules behind this gate work only for examples whose gate is open.

        The others get what they would with a gate of exactly zero (a prefix: with a log gate of zero).

        Args:
            threshold: a gate is open where its value is above this number.

        Returns:
            The function that makes the modules work for all examples again.
        """
        # The module's own forward runs when nothing is skipped: ordinary passes pay nothing for this.
        before = [vars(module).pop("forward", None) for module in self._gated]
        for module in self._gated:
            vars(module)["forward"] = partial(self._forward, module, threshold)

        def restore() -> None:
            for module, forward in zip(self._gated, before, strict=True):
                del vars(module)["forward"]
                if forward is not None:
                    vars(module)["forward"] = forward

        return restore

    def _forward(self, module: Gated, threshold: float, *inputs: Any, **settings: Any) -> Tensor:
        """Stands in for the forward of `module` while closed gates are skipped."""
        forward = type(module).forward
        values = self()
        rows = (values > threshold).nonzero().squeeze(1)
        if len(rows) == len(values):
            return forward(module, *inputs, **settings)
        output = module.base(*inputs, **settings)
        if not len(rows):
            return output
        # A mask that serves all examples has one row and is left as it is.
        chosen = [x[rows] if isinstance(x, Tensor) and len(x) == len(values) else x for x in inputs]
        self.rows = rows
        try:
            return output.index_copy(0, rows, forward(module, *chosen, **settings))
        finally:
            self.rows = None


def per_example(gate: Tensor) -> Tensor:
    """A gate (batch,) in the shape that multiplies (batch, tokens, width)."""
    return gate.view(-1, 1, 1)
