"""The table of architectures: where in a transformer layer query, value, the feed-forward output and the rest are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from methods.kit.parts import Restore, put

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

Site = Literal["attention", "query", "key", "value", "output", "ffn_in", "ffn_out", "ffn_norm"]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The paths of the sites in models of one architecture, relative to the layer; None where there is no such site.

    Attributes:
        layers: path of the list of layers, relative to the base model.
        attention: the self-attention module; it reads the layer's input and calls the attention function.
        query, key, value: the projections of the attention's input.
        output: the attention's output projection.
        ffn_in, ffn_out: the two projections of the feed-forward network.
        ffn_norm: the layer norm that reads FFN output + residual (post-norm architectures).
        lacks: a site, or another need of a method (see `missing`) -> why this architecture cannot meet it.
        starts_behind_padding: whether the first token's position is the one behind `pad_token_id`, and not 0.
        small: what the configuration of a small random model needs besides `SMALL`; methods are checked on it. None:
            another architecture's model stands for this one.
        pooling: how a classifier usually makes one vector of the last hidden states.
    """

    layers: str
    attention: str
    query: str | None
    key: str | None
    value: str | None
    output: str
    ffn_in: str
    ffn_out: str
    ffn_norm: str | None
    lacks: Mapping[str, str] = field(default_factory=dict)
    starts_behind_padding: bool = False
    small: Mapping[str, Any] | None = None
    pooling: Literal["mean", "last"] = "mean"


SMALL: Mapping[str, Any] = {
    "vocab_size": 50,
    "max_position_embeddings": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "pad_token_id": 1,
}
"""The configuration of the small random models on which methods are checked, in the usual names of its settings."""
_TOKENS = {"bos_token_id": 2, "eos_token_id": 2}
_GROUPED = {"num_key_value_heads": 1, **_TOKENS}

_PRE_NORM = "its layers have their norms before the blocks, so none reads the feed-forward block's output"
_FUSED = "query, key and value are one fused projection (peft:lora with target_modules adapts it as a whole)"
_CONV1D = "its projections are of transformers' class Conv1D, not linear layers (peft:lora handles them)"
_SHARED = "all layers are one, run again and again, so a gate would take several values in one forward pass"
_RELATIVE = "its projections of query and key serve the relative positions too, which belong to no example"
_DISENTANGLED = "its disentangled attention does not call transformers' registry of attention functions"

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
    small={},
)

_ROBERTA = replace(_BERT, starts_behind_padding=True, small=None)

_LLAMA = Architecture(
    layers="layers",
    attention="self_attn",
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    output="self_attn.o_proj",
    ffn_in="mlp.up_proj",
    ffn_out="mlp.down_proj",
    ffn_norm=None,
    lacks={"ffn_norm": _PRE_NORM},
    small=_GROUPED,
    pooling="last",
)

ARCHITECTURES: dict[str, Architecture] = {
    "bert": _BERT,
    "roberta": replace(_ROBERTA, small={"type_vocab_size": 1}),
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "electra": replace(_BERT, small={"embedding_size": 8}),
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
        small={"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24},
    ),
    # Its one layer is run num_hidden_layers times: what is put into it acts each time and is counted once.
    "albert": Architecture(
        layers="encoder.albert_layer_groups.0.albert_layers",
        attention="attention",
        query="attention.query",
        key="attention.key",
        value="attention.value",
        output="attention.dense",
        ffn_in="ffn",
        ffn_out="ffn_output",
        ffn_norm="full_layer_layer_norm",
        lacks={"gates": _SHARED},
        small={"embedding_size": 8},
    ),
    "modernbert": Architecture(
        layers="layers",
        attention="attn",
        query=None,
        key=None,
        value=None,
        output="attn.Wo",
        ffn_in="mlp.Wi",
        ffn_out="mlp.Wo",
        ffn_norm=None,
        lacks={**dict.fromkeys(("query", "key", "value"), _FUSED), "ffn_norm": _PRE_NORM},
        small={"cls_token_id": 2, "sep_token_id": 2, **_TOKENS},
    ),
    "deberta-v2": replace(
        _BERT,
        query="attention.self.query_proj",
        key="attention.self.key_proj",
        value="attention.self.value_proj",
        lacks={"prefix": _DISENTANGLED, "gated projections": _RELATIVE},
        small={
            "relative_attention": True,
            "position_buckets": 8,
            "pos_att_type": ["p2c", "c2p"],
            "share_att_key": True,
        },
    ),
    "gpt2": Architecture(
        layers="h",
        attention="attn",
        query=None,
        key=None,
        value=None,
        output="attn.c_proj",
        ffn_in="mlp.c_fc",
        ffn_out="mlp.c_proj",
        ffn_norm=None,
        lacks={
            **dict.fromkeys(("query", "key", "value"), _FUSED),
            **dict.fromkeys(("output", "ffn_in", "ffn_out"), _CONV1D),
            "ffn_norm": _PRE_NORM,
        },
        small={"n_embd": 16, "n_layer": 2, "n_head": 2, "n_inner": 24, "n_positions": 40, **_TOKENS},
        pooling="last",
    ),
    "llama": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": replace(_LLAMA, small={"head_dim": 8, **_GROUPED}),
}
"""`model_type` of a transformers configuration -> where its sites are."""


@dataclass(frozen=True)
class Layer:
    """One transformer layer, with access to its sites by name.

    Attributes:
        index: its number in the stack of layers, from 0.
        module: the layer.
        architecture: where its sites are.
    """

    index: int
    module: nn.Module
    architecture: Architecture

    def get(self, site: Site) -> nn.Module:
        """The module that is at `site` now."""
        return self.module.get_submodule(self.path(site))

    def put(self, site: Site, module: nn.Module) -> Restore:
        """Puts `module` at `site`; returns the function that puts the old one back."""
        return put(self.module, self.path(site), module)

    def path(self, site: Site) -> str:
        """The name of the module at `site`, relative to the layer.

        Raises:
            ValueError: the architecture has no such site; says why.
        """
        path: str | None = getattr(self.architecture, site)
        if path is None:
            raise ValueError(f"layer {self.index} has no {site}: {self.architecture.lacks[site]}")
        return path


def missing(config: PretrainedConfig, *needs: str) -> str | None:
    """The reason why a model of this configuration does not meet the needs of a method; None if it meets all.

    Args:
        config: of the model.
        needs: sites, and `prefix` (keys and values in front of those of the layer), `gates` (one value for each
            example in each layer), `gated projections` (such gates on the output of query, key or value).
    """
    architecture = ARCHITECTURES.get(config.model_type)
    if architecture is None:
        rows = ", ".join(ARCHITECTURES)
        return f"the table of sites has no row for architecture {config.model_type!r} (it has {rows})"
    if getattr(config, "num_hidden_groups", 1) > 1:
        return f"{config.model_type} with {config.num_hidden_groups} groups of shared layers; only one group is known"
    for need in needs:
        if need in architecture.lacks:
            return f"{config.model_type} has no place for {need}: {architecture.lacks[need]}"
    return None


def positions(config: PretrainedConfig) -> int | None:
    """How many tokens a text can have at most; None where the configuration sets no limit.

    Examples:
        >>> from transformers import BertConfig, RobertaConfig
        >>> positions(BertConfig(max_position_embeddings=512))
        512
        >>> positions(RobertaConfig(max_position_embeddings=514, pad_token_id=1))
        512
    """
    most: int | None = getattr(config, "max_position_embeddings", None)
    architecture = ARCHITECTURES.get(config.model_type)
    if most is not None and architecture is not None and architecture.starts_behind_padding:
        most -= config.pad_token_id + 1
    return most


def layers(model: PreTrainedModel) -> list[Layer]:
    """The transformer layers of a base model, in order.

    Raises:
        ValueError: its architecture is not in the table.
    """
    reason = missing(model.config)
    if reason is not None:
        raise ValueError(reason)
    architecture = ARCHITECTURES[model.config.model_type]
    modules = model.get_submodule(architecture.layers)
    return [Layer(index, module, architecture) for index, module in enumerate(modules.children())]


def linear_at(layer: Layer, site: Site) -> nn.Linear:
    """The linear projection at `site`.

    Raises:
        ValueError: another kind of module is there.
    """
    module = layer.get(site)
    if not isinstance(module, nn.Linear):
        raise ValueError(f"layer {layer.index}: {site} is a {type(module).__name__}, not a linear projection")
    return module
