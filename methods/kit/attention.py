"""Attention with a prefix, as an attention function in transformers' registry.

All architectures that use this registry are served by it. A mask function must be registered beside the attention
function: without one transformers drops the padding mask and says nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from methods.kit.gates import GateReader

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "tunebench_prefix"


class LayerPrefix(nn.Module):
    """Attention with trained keys and values in front of one layer's own: `Attn(Q, [P_K; K], [P_V; V])`.

    Prefix-Tuning, Li and Liang 2021, arXiv 2101.00190, section 4. It is the submodule `prefix` of the layer's
    attention module.

    Args:
        log_gate: how a gate acts, if there is one. False: it multiplies P_K and P_V (Mao et al. 2022), where zero does
            not remove the prefix, since keys of zero keep a share of the softmax. True: its logarithm is added to the
            prefix's attention scores, where zero removes the prefix exactly.

    Attributes:
        states: P_K and P_V, (2, length, heads, head width): a parameter, or set before each forward pass by a prefix
            network. The order of the axes is that of the projections' outputs in memory, so that both are joined by
            copying whole rows.
        gate: None alone. In UniPELT it gives one number for each example.
    """

    states: Tensor
    gate: GateReader | None = None

    def __init__(self, *, log_gate: bool = False) -> None:
        super().__init__()
        self.log_gate = log_gate

    def store(self, states: Tensor) -> None:
        """Makes `states` a parameter of this module."""
        self.__dict__.pop("states", None)  # what a prefix network set would hide the parameter
        self.states = nn.Parameter(states)

    @property
    def length(self) -> int:
        """How many positions the prefix has."""
        return self.states.shape[1]

    def base(
        self, attention: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **settings: Any
    ) -> Tensor:
        """`Attn(Q, K, V)`: attention without the prefix; takes and gives what `forward` does."""
        return _attention(attention, query, key, value, mask, **settings)

    def forward(
        self, attention: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **settings: Any
    ) -> Tensor:
        """`Attn(Q, [P_K; K], [P_V; V])`.

        Args:
            attention: the layer's attention module.
            query: Q, (batch, heads, queries, head width).
            key: K, (batch, key-value heads, tokens, head width).
            value: V, (batch, key-value heads, tokens, head width).
            mask: over the tokens, (batch or 1, heads or 1, queries or 1, tokens): True or 0 where a position takes
                part; None for no limit.
            settings: `dropout`, `scaling`, `is_causal`: what transformers gives an attention function.

        Returns:
            (batch, queries, heads, head width).
        """
        is_causal = settings.get("is_causal")
        causal = bool(getattr(attention, "is_causal", False) if is_causal is None else is_causal)
        gate = None if self.gate is None else self.gate()
        mask = self.extend_mask(mask, query, gate, causal=causal)
        keys, values = self.extend(key, value, gate)  # [P_K; K], [P_V; V]
        dropout = float(settings.get("dropout") or 0.0)
        # A log gate of zero may leave a row without any position, which only SDPA turns into zeros.
        if 0 < dropout < 1 and _plain(query, key) and not self.log_gate:
            return dropping(query, keys, values, mask, dropout=dropout, scaling=settings.get("scaling"))
        # What comes later is in the mask now: SDPA's own causal mask would count the prefix as tokens.
        return _attention(attention, query, keys, values, mask, **settings | {"is_causal": False})

    def extend(self, key: Tensor, value: Tensor, gate: Tensor | None) -> tuple[Tensor, Tensor]:
        """Puts the prefix in front of the layer's keys and values: `[g P_K; K]` and `[g P_V; V]`.

        Args:
            key: K, (batch, heads, tokens, head width).
            value: V, (batch, heads, tokens, head width).
            gate: g, (batch,); None for 1.

        Returns:
            Keys and values, each (batch, heads, length + tokens, head width).
        """
        states = self.states.to(key.dtype).unsqueeze(1)  # (2, 1, length, heads, head width)
        if gate is not None and not self.log_gate:
            states = states * gate.to(key.dtype).view(1, -1, 1, 1, 1)
        keys, values = states.expand(-1, len(key), -1, -1, -1)
        return (
            torch.cat((keys, key.transpose(1, 2)), dim=1).transpose(1, 2),
            torch.cat((values, value.transpose(1, 2)), dim=1).transpose(1, 2),
        )

    def extend_mask(self, mask: Tensor | None, query: Tensor, gate: Tensor | None, *, causal: bool) -> Tensor | None:
        """The mask over prefix and tokens, in which every query sees the whole prefix.

        Args:
            mask: over the tokens, as `forward` takes it.
            query: (batch, heads, queries, head width).
            gate: (batch,). With `log_gate` its logarithm is what the prefix's positions add to their scores.
            causal: whether a token may see earlier tokens only, where `mask` does not say it.

        Returns:
            (batch or 1, heads or 1, queries or 1, length + tokens); None for no limit.
        """
        if mask is None and causal and query.shape[2] > 1:
            queries = query.shape[2]
            mask = torch.ones(queries, queries, dtype=torch.bool, device=query.device).tril()[None, None]
        if gate is None or not self.log_gate:
            return None if mask is None else functional.pad(mask, (self.length, 0), value=_seen(mask))
        gate = gate.to(query.dtype).view(-1, 1, 1, 1)
        # The clamp keeps the gradient finite at an exact zero, which then becomes -inf: no mass at all.
        scores = gate.clamp_min(torch.finfo(gate.dtype).tiny).log().masked_fill(gate == 0, -torch.inf)
        batch, _, queries, _ = query.shape
        if mask is None:
            tokens = query.new_zeros(()).expand(batch, 1, queries, queries)
        elif mask.dtype == torch.bool:
            tokens = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, -torch.inf)
        else:
            tokens = mask
        tokens = tokens.expand(batch, 1, queries, -1)
        return torch.cat((scores.expand(-1, 1, queries, self.length), tokens), dim=3)


def _seen(mask: Tensor) -> float:
    """The value that a position which takes part has in this mask: True in one of bools, 0 in one that adds."""
    return 1.0 if mask.dtype == torch.bool else 0.0


def dropping(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, dropout: float, scaling: float | None = None
) -> Tensor:
    """Attention with dropout of its weights, for training on a CPU in float32: `dropout(softmax(c Q K^T + mask)) V`.

    It is faster there than torch, whose fused kernel for CPUs has no dropout. `scaled_dot_product_attention` then
    runs one operator after another, scales queries and keys each, looks for rows without any position, and draws
    every dropped weight by `bernoulli_`, which takes twice as long as a uniform number and a comparison.

    Args:
        query: (batch, heads, queries, head width).
        key: (batch, heads, positions, head width).
        value: (batch, heads, positions, head width).
        mask: (batch or 1, heads or 1, queries or 1, positions), True or 0 where a position takes part, False or
            -inf where not, at least one of each row; None for no limit.
        dropout: probability of dropping a weight, between 0 and 1.
        scaling: c; None for one over the square root of the head width.

    Returns:
        (batch, queries, heads, head width).
    """
    batch, heads, queries, width = query.shape
    scaling = width**-0.5 if scaling is None else scaling
    query, key, value = query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1)  # each (batch * heads, ...)
    scores = torch.bmm(query, key.transpose(1, 2)).view(batch, heads, queries, -1)
    if mask is None:
        scores = scores * scaling
    else:
        if mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=scores.dtype).masked_fill(~mask, -torch.inf)
        scores = torch.add(mask, scores, alpha=scaling)  # scale and mask in one pass over the scores
    weights = scores.softmax(dim=3)
    # Each weight stays with probability 1 - dropout, divided by it, so that its mean does not change.
    kept = torch.rand(weights.shape, device=weights.device).ge_(dropout).div_(1 - dropout)
    output = torch.bmm((weights * kept).flatten(0, 1), value)
    return output.view(batch, heads, queries, -1).transpose(1, 2).contiguous()


def _plain(query: Tensor, key: Tensor) -> bool:
    """Whether `dropping` can serve these: on a CPU, in float32, with as many heads of keys as of queries."""
    return query.device.type == "cpu" and query.dtype == torch.float32 and key.shape[1] == query.shape[1]


def _prefix_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """The attention function in transformers' registry: `sdpa`, or that of the module's prefix if it has one."""
    prefix = getattr(module, "prefix", None)
    if isinstance(prefix, LayerPrefix):
        output: Tensor = prefix(module, query, key, value, attention_mask, **settings)
    else:
        output = _attention(module, query, key, value, attention_mask, **settings)
    return output, None  # None: no attention weights


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **settings: Any
) -> Tensor:
    """The attention `sdpa` of transformers.

    Args:
        module: the layer's attention module.
        query: (batch, heads, queries, head width).
        key: (batch, key-value heads, positions, head width).
        value: (batch, key-value heads, positions, head width).
        mask: (batch or 1, heads or 1, queries or 1, positions); None for no limit.
        settings: `dropout`, `scaling`, `is_causal`.

    Returns:
        (batch, queries, heads, head width).
    """
    output, _ = sdpa_attention_forward(module, query, key, value, mask, **settings)
    return output


AttentionInterface.register(NAME, _prefix_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


def enable(model: PreTrainedModel) -> None:
    """Makes the attention modules of the model use their prefix, where they have one.

    Raises:
        ValueError: the model does not take its attention function from the registry.
    """
    model.set_attn_implementation(NAME)
    if model.config._attn_implementation != NAME:
        raise ValueError(f"{type(model).__name__} does not take an attention function from the registry")
