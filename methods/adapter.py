"""Bottleneck adapters: a narrow network after the feed-forward block (or after both blocks) of a layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn import functional

from methods.kit.base import Method
from methods.kit.gates import Reading, where_open
from methods.kit.parts import Part, switch
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
    """`base + G (W_up phi(W_down h + b) + b)`; weights N(0, std), biases 0 (Mao et al. 2022, section 2.2)."""

    def __init__(self, width: int, bottleneck: int, *, activation: Activation, std: float) -> None:
        super().__init__()
        self.down_weight = nn.Parameter(torch.empty(bottleneck, width).normal_(std=std))
        self.down_bias = nn.Parameter(torch.zeros(bottleneck))
        self.up_weight = nn.Parameter(torch.empty(width, bottleneck).normal_(std=std))
        self.up_bias = nn.Parameter(torch.zeros(width))
        self.activation = ACTIVATIONS[activation]

    def forward(self, hidden: Tensor, base: Tensor, gate: Tensor | None = None) -> Tensor:
        """Adds the output for `hidden`, times `gate` (batch,), to `base`; both (batch, tokens, width)."""
        inner = self.activation(functional.linear(hidden, self.down_weight, self.down_bias))
        flat = base.flatten(0, -2)  # (tokens, width)
        bias = self.up_bias.to(flat.dtype)
        if gate is None:
            output = flat + bias
        else:
            inner = inner * gate.view(-1, 1, 1)  # before W_up, where it is narrow
            of_token = gate.to(flat.dtype).view(-1, 1).expand(-1, base.shape[1]).reshape(-1, 1)
            output = torch.addcmul(flat, of_token, bias)
        # Adds onto the output in place: no second tensor of its size.
        output.addmm_(inner.flatten(0, -2).to(output.dtype), self.up_weight.t().to(output.dtype))
        return output.view_as(base)

    def own_parameters(self) -> tuple[nn.Parameter, ...]:
        """The bottleneck's parameters without its gate's."""
        return self.down_weight, self.down_bias, self.up_weight, self.up_bias


class AdapterNorm(nn.LayerNorm):
    """Pfeiffer placement: stands in for the layer norm after the feed-forward block.

    Its input s = h_F + residual. It yields `LN(s + A(LN(s)))`: the adapter reads h_FN = LN(s), and the
    layer's own residual and norm are applied again (Pfeiffer et al. 2020). A gate reads h_FN as well.
    Shape (batch, tokens, width).
    """

    def __init__(self, base: nn.LayerNorm, adapter: Bottleneck, reading: Reading | None = None) -> None:
        nn.Module.__init__(self)
        self.normalized_shape, self.eps = base.normalized_shape, base.eps
        self.elementwise_affine = base.elementwise_affine
        self.weight, self.bias = base.weight, base.bias
        self.adapter = adapter
        self.reading = reading
        self.gates = None if reading is None else reading.gate
        self.gate = None if reading is None else reading.reader(0)
        self.removed = False

    def forward(self, input: Tensor) -> Tensor:
        normed = super().forward(input)
        if self.removed:
            return normed
        if self.reading is not None:
            self.reading.take(normed)
        return where_open(self.gate, lambda: normed, lambda rows: self._adapted(normed, input, rows))

    def _adapted(self, normed: Tensor, input: Tensor, rows: Tensor | None) -> Tensor:
        gate = None if self.gate is None else self.gate()
        if rows is not None:
            normed, input = normed[rows], input[rows]
            gate = None if gate is None else gate[rows]
        return nn.LayerNorm.forward(self, self.adapter(normed, input, gate))

    def plain(self) -> nn.LayerNorm:
        """The norm without the adapter, on the same weight and bias."""
        plain = nn.LayerNorm(self.normalized_shape, self.eps, elementwise_affine=False)
        plain.elementwise_affine = self.elementwise_affine
        plain.weight, plain.bias = self.weight, self.bias
        return plain

    @torch.no_grad()
    def fold(self, gate: float) -> None:
        """Multiplies the adapter's output by a constant for good, in place of its gate."""
        self.adapter.up_weight.mul_(gate)
        self.adapter.up_bias.mul_(gate)
        self.reading = self.gate = self.gates = None


class AdapterLinear(nn.Linear):
    """Houlsby placement: stands in for a block's output projection and yields `y + A(y)`, y = W x + b."""

    def __init__(self, base: nn.Linear, adapter: Bottleneck) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight, base.bias
        self.adapter = adapter
        self.removed = False

    def forward(self, input: Tensor) -> Tensor:
        output = super().forward(input)
        if self.removed:
            return output
        adapted: Tensor = self.adapter(output, output)
        return adapted

    def plain(self) -> nn.Linear:
        """The projection without the adapter, on the same weight and bias."""
        plain = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        plain.weight, plain.bias = self.weight, self.bias
        return plain


def insert_after_ffn(
    layer: Layer, make: Callable[[int], Bottleneck], gate: Callable[[int], Reading] | None = None
) -> None:
    """Puts an adapter in Pfeiffer placement into a layer; `make` and `gate` build it for a width."""
    norm = layer.get("ffn_norm")
    if not isinstance(norm, nn.LayerNorm):
        raise ValueError(f"layer {layer.index}: ffn_norm is a {type(norm).__name__}, not a layer norm")
    width = norm.normalized_shape[0]
    layer.put("ffn_norm", AdapterNorm(norm, make(width), None if gate is None else gate(width)))


def adapter_part(layer: Layer, site: Site) -> Part:
    """The part that an adapter at `site` is."""
    module = layer.get(site)
    assert isinstance(module, AdapterNorm | AdapterLinear)

    def drop() -> None:
        layer.put(site, module.plain())

    return Part(
        kind="adapter",
        layer=layer.index,
        site={"output": "attention"}.get(site, "ffn"),
        module=module,
        parameters=module.adapter.own_parameters(),
        remove=switch(module),
        gate=module.gate if isinstance(module, AdapterNorm) else None,
        drop=drop,
        fold=module.fold if isinstance(module, AdapterNorm) else None,
    )


@dataclass(frozen=True, kw_only=True)
class Adapter(Method):
    """Inserts bottleneck networks; everything else stays frozen.

    Attributes:
        bottleneck: its width.
        reduction: if given, the width is hidden size / reduction instead.
        placement: `pfeiffer` (after the feed-forward block, around its norm; pre-norm layers have none
            there, so before the residual) or `houlsby` (after the output projections of attention and
            feed-forward, before residual and norm).
        activation: the nonlinearity inside.
        init_std: standard deviation of the initial weights; 0.02 is not quite the identity.
    """

    name: ClassVar[str] = "adapter"
    paper: ClassVar[str] = "Houlsby et al. 2019, arXiv 1902.00751; Pfeiffer et al. 2020, arXiv 2005.00247"

    bottleneck: Annotated[int, Gt(0)] = 48
    reduction: Annotated[float, Gt(0)] | None = None
    placement: Literal["pfeiffer", "houlsby"] = "pfeiffer"
    activation: Activation = "relu"
    init_std: Annotated[float, Ge(0)] = 0.02

    def sites(self, config: PretrainedConfig) -> tuple[Site, ...]:
        """Where in each layer of such a model it stands."""
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
        bottleneck = self.bottleneck if self.reduction is None else max(1, int(width / self.reduction))
        return Bottleneck(width, bottleneck, activation=self.activation, std=self.init_std)

    def parts_of(self, model: PreTrainedModel, pretrained: Mapping[str, Tensor]) -> list[Part]:
        return [adapter_part(layer, site) for layer in layers(model) for site in self.sites(model.config)]

    def idle(
        self, model: PreTrainedModel, pretrained: Mapping[str, Tensor], run: Callable[[], object]
    ) -> dict[str, float]:
        return dead_units(model, run)


def dead_units(model: nn.Module, run: Callable[[], object]) -> dict[str, float]:
    """Share of bottleneck units that no token of the rows that `run` sends through ever activates.

    Returns:
        `adapter_dead_units_share`; empty where there is no bottleneck with relu.
    """
    found = [module for module in model.modules() if isinstance(module, Bottleneck)]
    watched = [module for module in found if module.activation is functional.relu]
    peaks: dict[int, Tensor] = {}

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
