"""LoRA: a low-rank update beside a frozen projection."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn
from torch.nn import functional

from methods.kit.base import Method
from methods.kit.gates import GateReader, where_open
from methods.kit.parts import Part, switch
from methods.kit.sites import Layer, Site, layers, linear_at, missing

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

SITES: dict[str, tuple[Site, ...]] = {
    "q": ("query",),
    "k": ("key",),
    "v": ("value",),
    "o": ("output",),
    "ffn": ("ffn_in", "ffn_out"),
}
"""What `targets` may name -> the sites it stands for."""


class LoRALinear(nn.Linear):
    """`W x + b + s B A x` with W and b of the projection it stands in for (Hu et al. 2021, eq. 3).

    Without a gate s = alpha / r. With one, the example's gate value replaces it (Mao et al. 2022).
    A ~ Kaiming uniform, B = 0: a fresh one is the identity. Shape (..., in) -> (..., out).
    """

    def __init__(
        self,
        base: nn.Linear,
        *,
        r: int,
        alpha: float,
        dropout: float = 0.0,
        gate: GateReader | None = None,
    ) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight, base.bias
        self.lora_A = nn.Parameter(torch.empty(r, self.in_features, dtype=base.weight.dtype))
        # B lies in memory column by column, which its narrow products in the backward pass read in order.
        self.lora_B = nn.Parameter(torch.zeros(r, self.out_features, dtype=base.weight.dtype).t())
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.scaling = alpha / r if gate is None else 1.0
        self.dropout = dropout
        self.gate = gate
        self.removed = False

    def forward(self, input: Tensor) -> Tensor:
        if self.removed:
            return super().forward(input)
        plain = super().forward
        return where_open(self.gate, lambda: plain(input), lambda rows: self._adapted(input, rows))

    def _adapted(self, input: Tensor, rows: Tensor | None) -> Tensor:
        gate = None if self.gate is None else self.gate()
        if rows is not None:
            input = input[rows]
            gate = None if gate is None else gate[rows]
        flat = input.flatten(0, -2)  # (tokens, in)
        output = functional.linear(flat, self.weight, self.bias)
        low = functional.dropout(input, self.dropout, self.training) if self.dropout else input
        low = functional.linear(low, self.lora_A)  # (batch, tokens, r)
        if gate is not None:
            low = low * gate.view(-1, 1, 1)  # where it is narrow, the gate costs nothing
        # One product that adds onto the output in place: no second tensor of the output's size.
        up = self.lora_B.t().to(output.dtype)
        output.addmm_(low.flatten(0, -2).to(output.dtype), up, alpha=self.scaling)
        return output.view(*input.shape[:-1], self.out_features)

    @torch.no_grad()
    def delta_weight(self) -> Tensor:
        """`s B A`, (out, in)."""
        return self.scaling * self.lora_B @ self.lora_A

    def plain(self) -> nn.Linear:
        """The projection without the update, on the same weight and bias."""
        plain = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        plain.weight, plain.bias = self.weight, self.bias
        return plain

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """A plain projection with the update folded into its own copy of the weight."""
        merged = self.plain()
        merged.weight = nn.Parameter(self.weight + self.delta_weight(), requires_grad=False)
        return merged


def lora_part(layer: Layer, site: Site) -> Part:
    """The part that a `LoRALinear` at `site` is."""
    module = layer.get(site)
    assert isinstance(module, LoRALinear)

    def drop() -> None:
        layer.put(site, module.plain())

    def fold(gate: float) -> None:
        module.gate, module.scaling = None, gate
        layer.put(site, module.merged())

    return Part(
        kind="lora",
        layer=layer.index,
        site=site,
        module=module,
        parameters=(module.lora_A, module.lora_B),
        remove=switch(module),
        gate=module.gate,
        drop=drop,
        fold=fold,
    )


@dataclass(frozen=True, kw_only=True)
class LoRA(Method):
    """Adds `alpha / r * B A` to chosen projections of every layer.

    Attributes:
        r: rank of the update.
        alpha: its strength; the update is multiplied by alpha / r.
        dropout: probability of dropping an input of A in training.
        targets: projections joined by +, any of q, k, v, o, ffn.
    """

    name: ClassVar[str] = "lora"
    starts_as_identity: ClassVar[bool] = True
    paper: ClassVar[str] = "Hu et al. 2021, arXiv 2106.09685"

    r: Annotated[int, Gt(0)] = 8
    alpha: Annotated[float, Gt(0)] = 16.0
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0
    targets: str = "q+v"

    def __post_init__(self) -> None:
        names = self.targets.split("+")
        for name in names:
            if name not in SITES:
                raise ValueError(f"targets: {name!r} is none of {', '.join(SITES)} (join them by +)")
        if len(set(names)) < len(names):
            raise ValueError(f"targets: {self.targets!r} names a projection twice")

    @property
    def sites(self) -> list[Site]:
        """The sites it adapts in each layer."""
        return [site for name in self.targets.split("+") for site in SITES[name]]

    def unsupported(self, config: PretrainedConfig) -> str | None:
        return missing(config, *self.sites)

    def adapt(self, model: PreTrainedModel) -> None:
        for layer in layers(model):
            for site in self.sites:
                base = linear_at(layer, site)
                layer.put(site, LoRALinear(base, r=self.r, alpha=self.alpha, dropout=self.dropout))

    def parts_of(self, model: PreTrainedModel, pretrained: Mapping[str, Tensor]) -> list[Part]:
        return [lora_part(layer, site) for layer in layers(model) for site in self.sites]

    def merge(self, model: PreTrainedModel) -> None:
        for layer in layers(model):
            for site in self.sites:
                module = layer.get(site)
                if isinstance(module, LoRALinear):
                    layer.put(site, module.merged())

    def idle(
        self, model: PreTrainedModel, pretrained: Mapping[str, Tensor], run: Callable[[], object]
    ) -> dict[str, float]:
        return rank_use([layer.get(site) for layer in layers(model) for site in self.sites])


@torch.no_grad()
def rank_use(modules: Sequence[nn.Module]) -> dict[str, float]:
    """Effective rank of the updates B A: exp of the entropy of the normalised singular values (Roy and Vetterli 2007).

    Returns:
        `lora_effective_rank_mean` and `_min` over the modules; empty where every update is zero.
    """
    ranks = []
    for module in modules:
        if isinstance(module, LoRALinear):
            # B A = Q_b (R_b R_a^T) Q_a^T: the singular values of an r x r matrix
            values = torch.linalg.svdvals(torch.linalg.qr(module.lora_B).R @ torch.linalg.qr(module.lora_A.t()).R.t())
            if float(values.sum()) > 0:
                shares = values / values.sum()
                ranks.append(float(torch.exp(-(shares * shares.clamp_min(1e-12).log()).sum())))
    if not ranks:
        return {}
    return {"lora_effective_rank_mean": sum(ranks) / len(ranks), "lora_effective_rank_min": min(ranks)}
