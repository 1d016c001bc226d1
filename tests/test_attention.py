"""Attention with a prefix while training: torch's own is the oracle, dropout keeps its law."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PreTrainedModel

from methods import attention
from methods.attention import dropping
from methods.prefix import Prefix
from methods.unipelt import UniPELT
from tests.test_unipelt import backbone, batch

NEARLY_NEVER = 1e-12
BATCH, HEADS, QUERIES, POSITIONS, WIDTH = 2, 3, 4, 6, 8


def states() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(BATCH, HEADS, count, WIDTH) for count in (QUERIES, POSITIONS, POSITIONS)]
    # Heads lie between tokens in memory, as projections leave them.
    found = [torch.randn(b, t, h, w, generator=generator) for b, h, t, w in shapes]
    query, key, value = (state.transpose(1, 2).requires_grad_(True) for state in found)
    return query, key, value


def padding() -> Tensor:
    mask = torch.ones(BATCH, 1, QUERIES, POSITIONS, dtype=torch.bool)
    mask[1, :, :, 4:] = False
    return mask


MASKS = {
    "none": None,
    "bool": padding(),
    "float": torch.zeros(1, 1, QUERIES, POSITIONS).masked_fill(torch.arange(POSITIONS) == 2, -torch.inf),
}


@pytest.mark.parametrize("scaling", [None, 0.3])
@pytest.mark.parametrize("mask", MASKS)
def test_it_is_attention_where_nothing_is_dropped(mask: str, scaling: float | None) -> None:
    inputs = states()
    ours = dropping(*inputs, MASKS[mask], dropout=NEARLY_NEVER, scaling=scaling)
    theirs = functional.scaled_dot_product_attention(*inputs, attn_mask=MASKS[mask], scale=scaling).transpose(1, 2)
    assert ours.shape == (BATCH, QUERIES, HEADS, WIDTH)
    assert ours.is_contiguous()
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    for mine, other in zip(
        torch.autograd.grad(ours, inputs, weights), torch.autograd.grad(theirs, inputs, weights), strict=True
    ):
        torch.testing.assert_close(mine, other)


def test_weights_are_dropped_at_random_and_the_rest_scaled_up() -> None:
    torch.manual_seed(0)
    many, positions = 200, 50
    query, key = torch.zeros(many, 1, positions, 4), torch.zeros(many, 1, positions, 4)
    value = torch.eye(positions).expand(many, 1, -1, -1)  # the output is the weights
    weights = dropping(query, key, value, None, dropout=0.1)
    dropped = weights == 0
    assert weights[~dropped].unique() == pytest.approx(1 / positions / 0.9)
    count = dropped.numel()
    assert dropped.float().mean().item() == pytest.approx(0.1, abs=5 * (0.1 * 0.9 / count) ** 0.5)
    assert not (dropped[0] == dropped[1]).all(), "every example draws its own"


def grouped_llama() -> PreTrainedModel:
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = AutoConfig.for_model("llama", vocab_size=50, num_key_value_heads=2, **shape)
    return AutoModel.from_config(config, attn_implementation="sdpa")


@pytest.mark.parametrize(
    ("architecture", "method", "training", "dropout", "used"),
    [
        ("bert", Prefix(length=3, hidden=0), True, 0.1, True),
        ("bert", UniPELT(length=3, hidden=8), True, 0.1, True),
        ("bert", Prefix(length=3, hidden=0), False, 0.1, False),
        ("bert", Prefix(length=3, hidden=0), True, 0.0, False),
        ("bert", UniPELT(length=3, hidden=8, prefix_gate="log"), True, 0.1, False),
        ("llama", Prefix(length=3, hidden=0), True, 0.1, False),  # fewer heads of keys than of queries
    ],
    ids=str,
)
def test_where_it_takes_sdpas_place(
    monkeypatch: pytest.MonkeyPatch, architecture: str, method: Prefix, training: bool, dropout: float, used: bool
) -> None:
    model = grouped_llama() if architecture == "llama" else backbone(architecture)
    for module in model.modules():
        for name in ("dropout", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, dropout)
            elif isinstance(getattr(module, name, None), torch.nn.Dropout):
                getattr(module, name).p = dropout
    method.adapt(model)
    model.train(training)
    calls: list[float] = []

    def watched(*args: Any, dropout: float, **kwargs: Any) -> Tensor:
        calls.append(dropout)
        return dropping(*args, dropout=dropout, **kwargs)

    monkeypatch.setattr(attention, "dropping", watched)
    hidden = model(**batch()).last_hidden_state
    assert hidden.isfinite().all()
    assert calls == [dropout] * (model.config.num_hidden_layers if used else 0)
    hidden.sum().backward()
