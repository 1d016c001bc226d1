"""Bottleneck adapters: narrow networks whose output is added after the blocks of a layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn import functional

from methods.kit.base import Method
from methods.kit.frozen import add_product, bare, share
from methods.kit.gates import GateReader, per_example
from methods.kit.parts import Part
from methods.kit.sites import Layer, Site, layers, linear_at, missing

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

Activation = Literal["relu", "gelu", "tanh"]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "tanh": torch.tanh,
}


class Bottleneck(nn.Module):
    """A narrow network whose output is added to a tensor: `y + W_up phi(W_down h + b_down) + b_up`.

    Parameter-Efficient Transfer Learning for NLP, Houlsby et al. 2019, arXiv 1902.00751, section 2.1. Weights start
    as N(0, std) and biases as zero (Mao et al. 2022, section 2.2).

    Args:
        width: of h and y.
        bottleneck: width inside.
        activation: phi.
        std: standard deviation of the initial weights.

    Attributes:
        down_weight: W_down, (bottleneck, width).
        down_bias: b_down, (bottleneck,).
        up_weight: W_up, (width, bottleneck).
        up_bias: b_up, (width,).
        gate: None alone. In UniPELT it gives one number for each example, which multiplies what is added to y.
    """

    gate: GateReader | None = None

    def __init__(self, width: int, bottleneck: int, *, activation: Activation, std: float) -> None:
        super().__init__()
        self.down_weight = nn.Parameter(torch.empty(bottleneck, width).normal_(std=std))
        self.down_bias = nn.Parameter(torch.zeros(bottleneck))
        self.up_weight = nn.Parameter(torch.empty(width, bottleneck).normal_(std=std))
        self.up_bias = nn.Parameter(torch.zeros(width))
        self.activation = ACTIVATIONS[activation]

    def base(self, hidden: Tensor, y: Tensor) -> Tensor:
        """`y`: what is left when the adapter adds nothing."""
        return y

    def forward(self, hidden: Tensor, y: Tensor) -> Tensor:
        """`y + W_up phi(W_down h + b_down) + b_up`.

        Args:
            hidden: h, what the adapter reads, (batch, tokens, width).
            y: what its output is added to, (batch, tokens, width).

        Returns:
            The sum, (batch, tokens, width), in the precision of y.
        """
        inner = self.activation(functional.linear(hidden, self.down_weight, self.down_bias))  # phi(W_down h + b_down)
        out = y.flatten(0, -2)  # (batch * tokens, width)
        bias = self.up_bias.to(out.dtype)
        if self.gate is None:
            out = out + bias  # y + b_up
        else:
            # g (W_up z + b_up) = W_up (g z) + g b_up: the gate multiplies z, where it is narrow.
            gate = self.gate()
            inner = inner * per_example(gate)
            per_token = gate.to(out.dtype).view(-1, 1).expand(-1, y.shape[1]).reshape(-1, 1)
            out = torch.addcmul(out, per_token, bias)  # y + g b_up
        return add_product(out, inner.flatten(0, -2), self.up_weight).view_as(y)  # + W_up z


class AdapterNorm(nn.LayerNorm):
    """A layer norm with an adapter in Pfeiffer placement: `LN(s + A(LN(s)))`.

    AdapterFusion, Pfeiffer et al. 2020, arXiv 2005.00247. It takes the place of the norm after the
    feed-forward block, whose input is s = h_F + residual. The adapter reads h_FN = LN(s); then the layer's residual
    and norm are applied again, with the same weights.

    Args:
        base: the norm. Its weight and bias stay its very parameters, not copies.
        adapter: A.
    """

    def __init__(self, base: nn.LayerNorm, adapter: Bottleneck) -> None:
        share(self, base)
        self.adapter = adapter

    def forward(self, input: Tensor) -> Tensor:
        """`LN(s + A(LN(s)))`.

        Args:
            input: s, (batch, tokens, width).

        Returns:
            The layer's output, (batch, tokens, width).
        """
        normed = super().forward(input)  # h_FN
        adapted = self.adapter(normed, input)
        # With every gate closed and skipped nothing was added to s, and h_FN is the result already.
        return normed if adapted is input else super().forward(adapted)


class AdapterLinear(nn.Linear):
    """A projection with an adapter in Houlsby placement: `y + A(y)` with `y = W x + b`.

    Parameter-Efficient Transfer Learning for NLP, Houlsby et al. 2019, arXiv 1902.00751, figure 2. It takes the place
    of a block's output projection; the block's residual and norm come after it.

    Args:
        base: the projection. W and b stay its very parameters, not copies.
        adapter: A.
    """

    def __init__(self, base: nn.Linear, adapter: Bottleneck) -> None:
        share(self, base)
        self.adapter = adapter

    def forward(self, input: Tensor) -> Tensor:
        """`y + A(y)`.

        Args:
            input: x, (batch, tokens, in).

        Returns:
            (batch, tokens, out).
        """
        y = super().forward(input)
        adapted: Tensor = self.adapter(y, y)
        return adapted


def insert_after_ffn(layer: Layer, make: Callable[[int], Bottleneck]) -> AdapterNorm:
    """Puts an adapter in Pfeiffer placement into a layer.

    Args:
        layer: has a layer norm after its feed-forward block.
        make: width -> an adapter of this width.

    Returns:
        What stands in the place of the norm now.

    Raises:
        ValueError: something else than a layer norm stands there.
    """
    norm = layer.get("ffn_norm")
    if not isinstance(norm, nn.LayerNorm):
        raise ValueError(f"layer {layer.index}: ffn_norm is a {type(norm).__name__}, not a layer norm")
    adapted = AdapterNorm(norm, make(norm.normalized_shape[0]))
    layer.put("ffn_norm", adapted)
    return adapted


def adapter_part(layer: Layer, site: Site) -> Part:
    """The adapter at `site` as a part; without it the plain norm or projection stands there."""
    module = layer.get(site)
    assert isinstance(module, AdapterNorm | AdapterLinear)
    adapter = module.adapter

    @torch.no_grad()
    def fold(gate: float) -> None:
        adapter.up_weight.mul_(gate)
        adapter.up_bias.mul_(gate)
        adapter.gate = None

    return Part.at(
        layer.module,
        layer.path(site),
        base=bare(module),
        kind="adapter",
        layer=layer.index,
        site="attention" if site == "output" else "ffn",
        parameters=tuple(adapter.parameters()),
        gate=adapter.gate,
        fold=fold,
    )


@dataclass(frozen=True, kw_only=True)
class Adapter(Method):
    """Inserts adapters `A(h) = W_up phi(W_down h + b_down) + b_up` into every layer and trains only these.

    Attributes:
        bottleneck: width inside the adapter.
        reduction: if given, the width inside is the hidden size divided by it.
        placement: `pfeiffer` (one adapter a layer, around the norm after the feed-forward block; before the residual
            where a pre-norm layer has no norm there) or `houlsby` (two a layer, after the output projections of
            attention and feed-forward block, before residual and norm).
        activation: phi.
        init_std: standard deviation of the initial weights. At 0.02 a fresh adapter changes the output a little.
    """

    name: ClassVar[str] = "adapter"
    paper: ClassVar[str] = "Houlsby et al. 2019, arXiv 1902.00751; Pfeiffer et al. 2020, arXiv 2005.00247"

    bottleneck: Annotated[int, Gt(0)] = 48
    reduction: Annotated[float, Gt(0)] | None = None
    placement: Literal["pfeiffer", "houlsby"] = "pfeiffer"
    activation: Activation = "relu"
    init_std: Annotated[float, Ge(0)] = 0.02

    def sites(self, config: PretrainedConfig) -> tuple[Site, ...]:
        """The sites in each layer of such a model that get an adapter."""
        if self.placement == "houlsby":
            return "output", "ffn_out"
        return ("ffn_norm",) if missing(config, "ffn_norm") is None else ("ffn_out",)

    def unsupported(self, config: PretrainedConfig) -> str | None:
        return missing(config, *self.sites(config))

    def adapt(self, model: PreTrainedModel) -> None:
        for layer in layers(model):
            for site in self.sites(model.config):
                if site == "ffn_norm":
                    insert_after_ffn(layer, self._make)
                    continue
                base = linear_at(layer, site)
                layer.put(site, AdapterLinear(base, self._make(base.out_features)))

    def _make(self, width: int) -> Bottleneck:
        """A fresh adapter for hidden states of this width."""
        bottleneck = self.bottleneck if self.reduction is None else max(1, int(width / self.reduction))
        return Bottleneck(width, bottleneck, activation=self.activation, std=self.init_std)

    def parts_of(self, model: PreTrainedModel, pretrained: Mapping[str, Tensor]) -> list[Part]:
        return [adapter_part(layer, site) for layer in layers(model) for site in self.sites(model.config)]

    def idle(
        self, model: PreTrainedModel, pretrained: Mapping[str, Tensor], run: Callable[[], object]
    ) -> dict[str, float]:
        """The share of dead units, as `dead_units` gives it."""
        return dead_units(model, run)


def dead_units(model: nn.Module, run: Callable[[], object]) -> dict[str, float]:
    """The share of units inside the adapters that are zero for every token, and so do nothing.

    Args:
        model: the adapted backbone.
        run: sends rows through the model; their tokens are what is looked at.

    Returns:
        `adapter_dead_units_share`, the mean over the adapters; empty where no adapter has a relu.
    """
    adapters = [module for module in model.modules() if isinstance(module, Bottleneck)]
    watched = [module for module in adapters if module.activation is functional.relu]
    peaks: dict[int, Tensor] = {}  # id of an adapter -> the highest activation of each unit, (bottleneck,)

    def watch(module: Bottleneck) -> Callable[[Tensor], Tensor]:
        def activation(inner: Tensor) -> Tensor:
            active = functional.relu(inner)
            peak = active.flatten(0, -2).amax(dim=0)
            peaks[id(module)] = torch.maximum(peaks[id(module)], peak) if id(module) in peaks else peak
            return active

        return activation

    for module in watched:
        module.activation = watch(module)
    try:
        run()
    finally:
        for module in watched:
            module.activation = functional.relu
    units = [float((peak <= 0).float().mean()) for peak in peaks.values()]
    return {"adapter_dead_units_share": sum(units) / len(units)} if units else {}
