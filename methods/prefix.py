"""Prefix-tuning: trained keys and values in front of those of every layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from methods.kit.attention import LayerPrefix, enable
from methods.kit.base import Method
from methods.kit.parts import Part
from methods.kit.sites import Layer, layers, missing

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


class PrefixNetwork(nn.Module):
    """The network that gives the prefixes of all layers while they are trained: `P = W_up tanh(W_down E + b) + b'`.

    Prefix-Tuning, Li and Liang 2021, arXiv 2101.00190, section 4.3: a prefix trained directly is less stable. The
    network runs once in a forward pass, not once for each example, and `eject` replaces it by its output.

    Args:
        length: positions of the prefix.
        width: of E, the trained embedding of the positions, (length, width).
        hidden: width between W_down and W_up.
        outputs: numbers for each position: keys and values of all layers.

    Attributes:
        handle: takes the hook that runs the network before each forward pass off the model.
    """

    def __init__(self, *, length: int, width: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(length, width)
        self.down = nn.Linear(width, hidden)
        self.up = nn.Linear(hidden, outputs)
        self.handle: RemovableHandle | None = None

    def forward(self) -> Tensor:
        """`P`, (length, outputs)."""
        return self.up(torch.tanh(self.down(self.embedding.weight)))  # type: ignore[no-any-return]


def insert_prefix(model: PreTrainedModel, *, length: int, hidden: int, log_gate: bool = False) -> list[LayerPrefix]:
    """Gives every layer a prefix.

    Args:
        model: the backbone.
        length: positions of the prefix.
        hidden: width of the prefix network; 0 trains keys and values directly.
        log_gate: see `LayerPrefix`.

    Returns:
        The prefix of each layer.
    """
    enable(model)
    stack = layers(model)
    shapes = [_shape(model, length)] * len(stack)
    prefixes = [LayerPrefix(log_gate=log_gate) for _ in stack]
    for layer, prefix in zip(stack, prefixes, strict=True):
        layer.get("attention").add_module("prefix", prefix)
    if not hidden:
        for prefix, shape in zip(prefixes, shapes, strict=True):
            prefix.store(torch.empty(shape).normal_(std=0.02))
        return prefixes
    outputs = sum(shape[0] * shape[2] * shape[3] for shape in shapes)
    network = PrefixNetwork(length=length, width=model.config.hidden_size, hidden=hidden, outputs=outputs)
    model.add_module("prefix_network", network)

    def enter(module: nn.Module, args: tuple[Any, ...]) -> None:
        for prefix, states in zip(prefixes, _split(network(), shapes), strict=True):
            prefix.states = states

    network.handle = model.register_forward_pre_hook(enter)
    return prefixes


def _shape(model: PreTrainedModel, length: int) -> tuple[int, int, int, int]:
    """The shape of the keys and values of one layer's prefix: (2, length, key-value heads, head width)."""
    config = model.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2, length, getattr(config, "num_key_value_heads", None) or config.num_attention_heads, width


def _split(output: Tensor, shapes: list[tuple[int, int, int, int]]) -> list[Tensor]:
    """Cuts the output of the network, (length, outputs), into the keys and values of each layer."""
    pieces = output.split([shape[0] * shape[2] * shape[3] for shape in shapes], dim=1)
    return [
        piece.view(length, two, heads, width).transpose(0, 1)
        for piece, (two, length, heads, width) in zip(pieces, shapes, strict=True)
    ]


def eject_network(model: PreTrainedModel) -> None:
    """Replaces the prefix network by the keys and values that it gives; does nothing without one."""
    network = getattr(model, "prefix_network", None)
    if not isinstance(network, PrefixNetwork):
        return
    stack = layers(model)
    shapes = [_shape(model, network.embedding.num_embeddings)] * len(stack)
    with torch.no_grad():
        states = _split(network(), shapes)
    for layer, state in zip(stack, states, strict=True):
        layer_prefix(layer).store(state.contiguous())
    if network.handle is not None:
        network.handle.remove()
    del model.prefix_network


def layer_prefix(layer: Layer) -> LayerPrefix:
    """The prefix of a layer, which `insert_prefix` put there."""
    prefix = layer.get("attention").get_submodule("prefix")
    assert isinstance(prefix, LayerPrefix)
    return prefix


def prefix_part(layer: Layer) -> Part:
    """A layer's prefix as a part; without it the attention is the layer's own.

    Its parameters are the keys and values, once `eject` has made them parameters; before that it has none.
    """
    prefix = layer_prefix(layer)
    attention = layer.get("attention")

    @torch.no_grad()
    def fold(gate: float) -> None:
        prefix.states.mul_(gate)
        prefix.gate = None

    return Part.at(
        attention,
        "prefix",
        base=nn.Identity(),
        changes=attention,
        kind="prefix",
        layer=layer.index,
        site="attention",
        gate=prefix.gate,
        fold=None if prefix.log_gate else fold,  # a constant added to scores is in no key or value
    )


@dataclass(frozen=True, kw_only=True)
class Prefix(Method):
    """Attends to `length` more positions in every layer: `Attn(Q, [P_K; K], [P_V; V])` with P_K and P_V trained.

    The same for every example. `LayerPrefix` is one layer's, `PrefixNetwork` what trains them.

    Attributes:
        length: positions of the prefix.
        hidden: width of the prefix network; 0 trains keys and values directly.
    """

    name: ClassVar[str] = "prefix"
    paper: ClassVar[str] = "Li and Liang 2021, arXiv 2101.00190"

    length: Annotated[int, Gt(0)] = 10
    hidden: Annotated[int, Ge(0)] = 512

    def unsupported(self, config: PretrainedConfig) -> str | None:
        return missing(config, "prefix")

    def adapt(self, model: PreTrainedModel) -> None:
        insert_prefix(model, length=self.length, hidden=self.hidden)

    def parts_of(self, model: PreTrainedModel, pretrained: Mapping[str, Tensor]) -> list[Part]:
        return [prefix_part(layer) for layer in layers(model)]

    def eject(self, model: PreTrainedModel) -> None:
        eject_network(model)
