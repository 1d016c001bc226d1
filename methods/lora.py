"""LoRA: a trained low-rank update of frozen projections."""

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
from methods.kit.frozen import add_product, bare, share
from methods.kit.gates import GateReader, per_example
from methods.kit.parts import Part
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
"""A name in `targets` -> the sites that it stands for."""


class LoRALinear(nn.Linear):
    """A frozen projection with a low-rank update: `h = W x + b + alpha / r * B A x`.

    LoRA: Low-Rank Adaptation of Large Language Models, Hu et al. 2021, arXiv 2106.09685, equation 3.

    A starts as Kaiming uniform and B as zero, so that a fresh module gives what the projection alone gives.

    Args:
        base: the projection. W and b stay its very parameters, not copies.
        r: rank of the update.
        alpha: strength of the update, which is multiplied by alpha / r.
        dropout: probability with which an input of A is set to zero in training.

    Attributes:
        lora_A: A, (r, in).
        lora_B: B, (out, r).
        gate: None alone. In UniPELT it gives one number for each example, which multiplies the update.
    """

    gate: GateReader | None = None

    def __init__(self, base: nn.Linear, *, r: int, alpha: float, dropout: float = 0.0) -> None:
        share(self, base)
        dtype = base.weight.dtype
        self.lora_A = nn.Parameter(torch.empty(r, self.in_features, dtype=dtype))
        # B is stored column by column: the narrow products of the backward pass then read memory in order.
        self.lora_B = nn.Parameter(torch.zeros(r, self.out_features, dtype=dtype).t())
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.scaling = alpha / r
        self.dropout = dropout

    def base(self, input: Tensor) -> Tensor:
        """`W x + b`: the projection without the update, (..., in) -> (..., out)."""
        return functional.linear(input, self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """`W x + b + alpha / r * B A dropout(x)`.

        Args:
            input: x, (batch, tokens, in).

        Returns:
            h, (batch, tokens, out).
        """
        out = self.base(input.flatten(0, -2))  # W x + b, (batch * tokens, out)
        x = functional.dropout(input, self.dropout, self.training) if self.dropout else input
        low = functional.linear(x, self.lora_A)  # A x, (batch, tokens, r)
        if self.gate is not None:
            low = low * per_example(self.gate())  # g B A x = B (g A x): r numbers a token instead of `out`
        out = add_product(out, low.flatten(0, -2), self.lora_B, scale=self.scaling)  # + alpha / r * B A x
        return out.view(*input.shape[:-1], self.out_features)

    @torch.no_grad()
    def delta_weight(self) -> Tensor:
        """`alpha / r * B A`: what the update adds to W, (out, in)."""
        return self.scaling * self.lora_B @ self.lora_A

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """A plain projection with weight `W + alpha / r * B A`, in a tensor of its own."""
        merged = bare(self)
        merged.weight = nn.Parameter(self.weight + self.delta_weight(), requires_grad=False)
        return merged


def lora_part(layer: Layer, site: Site) -> Part:
    """The update of the projection at `site` as a part; without it the plain projection stands there."""
    module = layer.get(site)
    assert isinstance(module, LoRALinear)

    def fold(gate: float) -> None:
        module.gate, module.scaling = None, module.scaling * gate
        layer.put(site, module.merged())

    return Part.at(
        layer.module,
        layer.path(site),
        base=bare(module),
        kind="lora",
        layer=layer.index,
        site=site,
        gate=module.gate,
        fold=fold,
    )


@dataclass(frozen=True, kw_only=True)
class LoRA(Method):
    """Adds `alpha / r * B A x` to the output of chosen projections of every layer (Hu et al. 2021).

    Attributes:
        r: rank of the update.
        alpha: strength of the update, which is multiplied by alpha / r.
        dropout: probability with which an input of A is set to zero in training.
        targets: the projections, joined by +, any of q, k, v, o, ffn.
    """

    name: ClassVar[str] = "lora"
    paper: ClassVar[str] = "Hu et al. 2021, arXiv 2106.09685"
    starts_as_identity: ClassVar[bool] = True

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
        """The sites in each layer whose projections get an update."""
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
        """The effective rank of the updates, as `rank_use` gives it."""
        return rank_use([layer.get(site) for layer in layers(model) for site in self.sites])


@torch.no_grad()
def rank_use(modules: Sequence[nn.Module]) -> dict[str, float]:
    """The effective rank of the updates B A: how many of the r dimensions they use.

    It is exp of the entropy of the singular values, divided by their sum (Roy and Vetterli 2007): r where all are
    equal, near 1 where one is much larger than the others.

    Args:
        modules: those that are no `LoRALinear` are passed over.

    Returns:
        `lora_effective_rank_mean` and `lora_effective_rank_min` over the modules; empty where every update is zero.
    """
    ranks = []
    for module in modules:
        if isinstance(module, LoRALinear):
            # With B = Q_b R_b and A^T = Q_a R_a, B A has the singular values of R_b R_a^T, which is only r x r.
            values = torch.linalg.svdvals(torch.linalg.qr(module.lora_B).R @ torch.linalg.qr(module.lora_A.t()).R.t())
            if float(values.sum()) > 0:
                shares = values / values.sum()
                ranks.append(float(torch.exp(-(shares * shares.clamp_min(1e-12).log()).sum())))
    if not ranks:
        return {}
    return {"lora_effective_rank_mean": sum(ranks) / len(ranks), "lora_effective_rank_min": min(ranks)}
