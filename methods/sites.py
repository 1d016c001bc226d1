"""The one table that knows architectures: where query, value, the FFN's output and the rest are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import nn

from methods.base import Restore

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

Site = Literal["attention", "query", "key", "value", "output", "ffn_in", "ffn_out", "ffn_norm"]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Paths of the sites, those of one layer relative to the layer.

    Attributes:
        layers: the list of layers, relative to the base model.
        attention: the self-attention module; it reads the layer's input and calls the attention function.
        query, key, value: the projections of the attention's input.
        output: the attention's output projection.
        ffn_in, ffn_out: the two projections of the feed-forward network.
        ffn_norm: the layer norm that reads FFN output + residual (post-norm architectures).
    """

    layers: str
    attention: str
    query: str
    key: str
    value: str
    output: str
    ffn_in: str
    ffn_out: str
    ffn_norm: str


_BERT = Architecture(
    layers="encoder.layer",
    attention="attention.self",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    output="attention.output.dense",
    ffn_in="intermediate.dense",
    ffn_out="output.dense",
    ffn_norm="output.LayerNorm",
)

ARCHITECTURES: dict[str, Architecture] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "camembert": _BERT,
    "electra": _BERT,
    "distilbert": Architecture(
        layers="transformer.layer",
        attention="attention",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        output="attention.out_lin",
        ffn_in="ffn.lin1",
        ffn_out="ffn.lin2",
        ffn_norm="output_layer_norm",
    ),
}
"""transformers' `model_type` -> where its sites are."""


@dataclass(frozen=True)
class Layer:
    """One transformer layer and access to its sites by name."""

    index: int
    module: nn.Module
    architecture: Architecture

    def get(self, site: Site) -> nn.Module:
        """The module that stands at `site` now."""
        return self.module.get_submodule(getattr(self.architecture, site))

    def put(self, site: Site, module: nn.Module) -> Restore:
        """Puts `module` at `site`; returns the function that puts the old one back."""
        path = getattr(self.architecture, site)
        old = self.module.get_submodule(path)
        self.module.set_submodule(path, module)
        return lambda: self.module.set_submodule(path, old)


def missing(config: PretrainedConfig) -> str | None:
    """Why the sites of such a model are unknown; None if they are known."""
    if config.model_type in ARCHITECTURES:
        return None
    known = ", ".join(ARCHITECTURES)
    return f"the table of sites has no row for architecture {config.model_type!r} (it has {known})"


def layers(model: PreTrainedModel) -> list[Layer]:
    """The layers of a base model, in order.

    Raises:
        ValueError: its architecture is not in the table.
    """
    reason = missing(model.config)
    if reason is not None:
        raise ValueError(reason)
    architecture = ARCHITECTURES[model.config.model_type]
    modules = model.get_submodule(architecture.layers)
    return [Layer(index, module, architecture) for index, module in enumerate(modules.children())]


def layer_index(name: str) -> int | None:
    """The layer that a parameter's name speaks of (`encoder.layer.3.output.dense.bias` -> 3)."""
    match = re.search(r"\.(\d+)\.", name)
    return int(match.group(1)) if match else None


def linear_at(layer: Layer, site: Site) -> nn.Linear:
    """The linear projection at `site`.

    Raises:
        ValueError: something else stands there.
    """
    module = layer.get(site)
    if not isinstance(module, nn.Linear):
        raise ValueError(f"layer {layer.index}: {site} is a {type(module).__name__}, not a linear projection")
    return module
