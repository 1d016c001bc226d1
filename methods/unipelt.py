"""UniPELT: adapter, prefix and LoRA together in every layer, each scaled by a gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from methods.adapter import Bottleneck, adapter_part, dead_units, insert_after_ffn
from methods.kit.base import Method
from methods.kit.gates import GateReader, Reading, TokenMean, form
from methods.kit.parts import Part
from methods.kit.sites import Layer, Site, layers, linear_at, missing
from methods.lora import LoRALinear, lora_part, rank_use
from methods.prefix import eject_network, insert_prefix, layer_prefix, prefix_part

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

LORA_SITES: tuple[Site, ...] = ("query", "value")
"""The projections that get a low-rank update."""


@dataclass(frozen=True, kw_only=True)
class UniPELT(Method):
    """`base(x) + g(h) * delta(x)` for each part of each layer, where `base(x) + delta(x)` is the part alone.

    UniPELT: A Unified Framework for Parameter-Efficient Language Model Tuning, Mao et al. 2022, arXiv 2110.07577,
    section 3. The parts are those of the methods adapter, prefix and LoRA, unchanged:

        query, value:          W x + b + g_L B A x                     LoRALinear
        attention:             Attn(Q, [g_P P_K; K], [g_P P_V; V])     LayerPrefix
        after feed-forward:    LN(s + g_A A(h_FN)) with h_FN = LN(s)   AdapterNorm

    The gates g_L and g_P read the layer's input, g_A reads h_FN. Where the paper and the code that its authors
    released differ, a field selects one of them.

    Attributes:
        parts: which of A (adapter), P (prefix), L (LoRA): any of them, at least one.
        gate: form of the gates; `none` is the paper's ablation NoGate.
        gate_mean: a gate is a mean over the tokens without padding (`masked`), or with it (`padded`, the code).
        lora_gates: 1: query and value share a gate (the paper); 2: each has one (the code).
        prefix_gate: `scale` multiplies keys and values (paper and code), where zero does not remove the prefix;
            `log` adds log g to the prefix's attention scores, where zero removes it exactly.
        bottleneck: width inside the adapter.
        length: positions of the prefix.
        hidden: width of the prefix network; 0 trains keys and values directly.
        r: rank of LoRA's updates.
        alpha: strength of LoRA's updates where they have no gate: they are multiplied by alpha / r.
        sparsity: weight in the loss of the expected share of active parameters (Louizos et al. 2018, equation 12);
            it acts on forms of gate that can be exactly zero.
    """

    name: ClassVar[str] = "unipelt"
    paper: ClassVar[str] = "Mao et al. 2022, arXiv 2110.07577"

    parts: str = "APL"
    gate: str = "sigmoid"
    gate_mean: Literal["masked", "padded"] = "masked"
    lora_gates: Literal[1, 2] = 1
    prefix_gate: Literal["scale", "log"] = "scale"
    bottleneck: Annotated[int, Gt(0)] = 48
    length: Annotated[int, Gt(0)] = 10
    hidden: Annotated[int, Ge(0)] = 512
    r: Annotated[int, Gt(0)] = 8
    alpha: Annotated[float, Gt(0)] = 16.0
    sparsity: Annotated[float, Ge(0)] = 0.0

    def __post_init__(self) -> None:
        if not self.parts or set(self.parts) - set("APL") or len(set(self.parts)) < len(self.parts):
            raise ValueError(f"parts: {self.parts!r} is no non-empty subset of A, P, L (such as AP or APL)")
        if self.gate != "none":
            form(self.gate)

    @property
    def reads_padding(self) -> bool:
        return self.gate_mean == "padded" and self.gate != "none"

    @property
    def _lora_sites(self) -> tuple[Site, ...]:
        """The projections that get an update; none without LoRA, where an architecture need not have them."""
        return LORA_SITES if "L" in self.parts else ()

    def unsupported(self, config: PretrainedConfig) -> str | None:
        needs = ["prefix"] if "P" in self.parts else []
        needs += self._lora_sites
        needs += ["ffn_norm"] if "A" in self.parts else []
        if self.gate != "none":
            needs += ["gates", "gated projections"] if "L" in self.parts else ["gates"]
        return missing(config, *needs)

    def adapt(self, model: PreTrainedModel) -> None:
        mean = TokenMean(masked=self.gate_mean == "masked")
        if self.gate != "none":
            mean.attach(model)
        width = model.config.hidden_size
        gates = [self._input_gates(layer, mean, width) for layer in layers(model)]  # of each layer, by site
        if "P" in self.parts:
            prefixes = insert_prefix(model, length=self.length, hidden=self.hidden, log_gate=self.prefix_gate == "log")
            for prefix, gate in zip(prefixes, gates, strict=True):
                if gate:
                    gate["prefix"].attach(prefix)
        for layer, gate in zip(layers(model), gates, strict=True):
            for site in self._lora_sites:
                # A gate takes the place of alpha / r (Mao et al. 2022, section 3.2), which alpha = r makes 1.
                lora = LoRALinear(linear_at(layer, site), r=self.r, alpha=self.r if gate else self.alpha)
                if gate:
                    gate[site].attach(lora)
                layer.put(site, lora)
            if "A" in self.parts:
                norm = insert_after_ffn(layer, self._bottleneck)
                if self.gate != "none":
                    # The adapter's input is h_FN, which its gate reads.
                    reading = Reading(form(self.gate)(norm.normalized_shape[0], 1), mean, home=norm, reads=norm.adapter)
                    GateReader(reading, 0).attach(norm.adapter)

    def _bottleneck(self, width: int) -> Bottleneck:
        """A fresh adapter for hidden states of this width."""
        return Bottleneck(width, self.bottleneck, activation="relu", std=0.02)

    def _input_gates(self, layer: Layer, mean: TokenMean, width: int) -> dict[str, GateReader]:
        """Adds the gates of a layer that read its input, all in one module.

        Returns:
            For `prefix` and each of LoRA's sites, what reads its gate; empty without such gates.
        """
        gated = ["prefix"] if "P" in self.parts else []
        gated += self._lora_sites[: self.lora_gates]
        if self.gate == "none" or not gated:
            return {}
        reading = Reading(form(self.gate)(width, len(gated)), mean, home=layer.get("attention"))
        readers = {site: GateReader(reading, index) for index, site in enumerate(gated)}
        if "L" in self.parts and self.lora_gates == 1:
            readers["value"] = readers["query"]
        return readers

    def parts_of(self, model: PreTrainedModel, pretrained: Mapping[str, Tensor]) -> list[Part]:
        parts: list[Part] = []
        for layer in layers(model):
            if "A" in self.parts:
                parts.append(adapter_part(layer, "ffn_norm"))
            if "P" in self.parts:
                parts.append(prefix_part(layer))
            parts += [lora_part(layer, site) for site in self._lora_sites]
        return parts

    def eject(self, model: PreTrainedModel) -> None:
        eject_network(model)

    def merge(self, model: PreTrainedModel) -> None:
        """Folds LoRA's updates without a gate into the weights; a gate differs from example to example."""
        for layer in layers(model):
            for site in self._lora_sites:
                module = layer.get(site)
                if isinstance(module, LoRALinear) and module.gate is None:
                    layer.put(site, module.merged())

    def penalty(self, model: PreTrainedModel) -> Tensor | None:
        """`sparsity` times the expected share of the deployed parameters that are behind a gate above zero."""
        if not self.sparsity:
            return None
        active: list[Tensor] = []
        sizes: list[int] = []
        for layer in layers(model):
            for size, reader in self._gated(layer):
                probability = reader.module.active_probability()  # (batch, count)
                if probability is not None:
                    active.append(size * probability[:, reader.index].mean())
                    sizes.append(size)
        return self.sparsity * torch.stack(active).sum() / sum(sizes) if active else None

    def _gated(self, layer: Layer) -> list[tuple[int, GateReader]]:
        """Each gated part of a layer: how many parameters it has when deployed, and its gate."""
        sizes: list[tuple[int, GateReader | None]] = []
        if "A" in self.parts:
            adapter = layer.get("ffn_norm").get_submodule("adapter")
            assert isinstance(adapter, Bottleneck)
            sizes.append((sum(parameter.numel() for parameter in adapter.parameters()), adapter.gate))
        for site in self._lora_sites:
            lora = layer.get(site)
            assert isinstance(lora, LoRALinear)
            sizes.append((lora.lora_A.numel() + lora.lora_B.numel(), lora.gate))
        if "P" in self.parts:
            prefix = layer_prefix(layer)
            sizes.append((prefix.states.numel(), prefix.gate))
        return [(size, gate) for size, gate in sizes if gate is not None]

    def idle(
        self, model: PreTrainedModel, pretrained: Mapping[str, Tensor], run: Callable[[], object]
    ) -> dict[str, float]:
        """What `rank_use` and `dead_units` give."""
        ranks = rank_use([layer.get(site) for layer in layers(model) for site in self._lora_sites])
        return dead_units(model, run) | ranks
